"""Jobs: a set of records, however large, run as one or many tasks.

All state of a job is in the object storage, beside its data: `manifest.py` describes it, `storage.py` reads
and writes it. `planning.py` divides records into shards, `runner.py` runs one task for each, `results.py`
merges what they return. `facades.py` has what users see: `Job` and `AsyncJob`.
"""
