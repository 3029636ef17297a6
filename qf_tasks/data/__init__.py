"""Records and results of tasks in the object storage (BOS).

`facades.py` has `client.data` of both clients, `transfers.py` what they do, `store.py` the requests.
`jsonl.py` reads and checks records, `results.py` the output of tasks.
"""
