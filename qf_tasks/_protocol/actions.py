"""The names of the service's actions, and what is true of each of them."""

from __future__ import annotations

ROUTE = "/v2/batchinference"

CREATE = "CreateBatchInferenceTask"
GET = "DescribeBatchInferenceTask"
LIST = "DescribeBatchInferenceTasks"
STOP = "StopBatchInferenceTask"
DELETE = "DeleteBatchInferenceTask"
MODELS = "DescribeBatchInferenceModel"

READ_ACTIONS = frozenset({GET, LIST, MODELS})
IDEMPOTENT_ACTIONS = frozenset({STOP, DELETE})  # doing them twice has the effect of doing them once
CONFIRMED_ACTIONS = frozenset({STOP, DELETE})  # they respond `"result": true`, and nothing else is a success
