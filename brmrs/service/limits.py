"""The limits of the service, in one place. docs/service.md lists them."""

MOST_ITEMS = 200  # k: items in one answer
MOST_HISTORY = 500  # items of a history
MOST_BODY = 2**17  # bytes of a request's body
LONGEST_ID = 512  # characters of a user or item id
LONGEST_QUERY = 200  # characters
MOST_FOUND = 100  # users or items in the answer to a search
MOST_WAITING = 256  # requests that a worker holds at once; further ones get 503
BODY_SECONDS = 10.0  # for the body of a request to arrive
MOST_OTHER_RUNS = 50  # that the status lists, newest first
OTHERS_LOADED = 1  # runs held in memory beside the served one
MOST_PICTURE = 20 * 2**20  # bytes of a picture
MOST_EXPLAINED = 100  # items of a history whose contributions are computed
EXPLAIN_SECONDS = 2.0  # for these contributions; a model that ranks slowly explains fewer items
MOST_FEATURES = 2**30  # bytes of one modality's vectors, held for similar items
EXACT_ITEMS = 100_000  # up to so many items every score is computed
POLL_SECONDS = 1.0  # between two looks at `current.json`
RETRY_SECONDS = 10.0  # until a run that could not be loaded is tried again
FAST_SECONDS = 0.001  # a ranking that takes less is computed without a change of threads
LEAST_RECALL = 0.98  # of the approximate index against the exact ranking, at 100 ranks
