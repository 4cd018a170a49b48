"""The endpoints of the service."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from brmrs.columns import FUSED
from brmrs.service import answers, explain, pictures, ranking
from brmrs.service.access import COOKIE
from brmrs.service.answers import Error
from brmrs.service.limits import (
    LONGEST_ID,
    LONGEST_QUERY,
    MOST_FOUND,
    MOST_HISTORY,
    MOST_ITEMS,
)
from brmrs.service.metrics import CONTENT_TYPE
from brmrs.service.problem import Problem
from brmrs.service.ranking import Wanted
from brmrs.service.served import Answering

if TYPE_CHECKING:
    from brmrs.service.app import Service

router = APIRouter()

UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": Error, "description": "The user, item, branch, category or run is unknown"}
}
BODY: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "The body cannot be read"},
    408: {"model": Error, "description": "The body did not arrive in time"},
    413: {"model": Error, "description": "The body is too large"},
}

UserId = Annotated[
    str, Path(min_length=1, max_length=LONGEST_ID, description="Raw id, as in the dump.")
]
ItemId = Annotated[
    str, Path(min_length=1, max_length=LONGEST_ID, description="Raw id (ASIN), as in the dump.")
]
K = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="Number of items.")]
Found = Annotated[int, Query(ge=1, le=MOST_FOUND, description="Number of answers.")]
Branch = Annotated[
    str, Query(max_length=LONGEST_QUERY, description="Branch to rank by; /v1/status lists them.")
]
Category = Annotated[
    str | None, Query(max_length=LONGEST_ID, description="Only items of this category.")
]
ExcludeSeen = Annotated[bool, Query(description="Leave out the items of the history.")]
RunName = Annotated[
    str | None,
    Query(max_length=LONGEST_QUERY, description="Another run of the data set, by its name."),
]
Kind = Literal["fused", "text", "visual", "purchases"]


class HistoryQuery(BaseModel):
    """A new user, by a history."""

    model_config = ConfigDict(extra="forbid")

    history: list[Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]] = Field(
        min_length=1, max_length=MOST_HISTORY, description="Raw ids of items."
    )
    k: int = Field(10, ge=1, le=MOST_ITEMS)
    branch: str = Field(FUSED, max_length=LONGEST_QUERY)
    exclude_seen: bool = True
    category: str | None = Field(None, max_length=LONGEST_ID)


def _service(request: Request) -> "Service":
    service: Service = request.app.state.service
    return service


@router.get("/v1/status", response_model=answers.Status, responses=UNKNOWN)
async def status(request: Request, run: RunName = None) -> Response:
    """The served run, and the other runs of the data set."""
    served = _service(request).served

    def describe(answering: Answering) -> dict[str, Any]:
        loaded = answering.run
        about = loaded.bundle.about
        rows = {row["run"]: row for row in served.listed}
        return {
            "run": loaded.name,
            "model": loaded.run.config["model"]["name"],
            "data": loaded.run.config["name"],
            "branches": loaded.branches,
            "modalities": answering.alike.kinds(),
            "users": len(about.users),
            "items": len(about.items),
            "promoted": loaded.name == served.promoted,
            "metrics": rows.get(loaded.name, {}).get("metrics", {}),
            "approximate": {name: index.recall for name, index in loaded.indices.items()},
            "other_runs": [row for name, row in rows.items() if name != loaded.name],
            "problem": served.problem,
        }

    return await _service(request).answer(run, describe, brief=True)


@router.get("/v1/users", response_model=answers.Users, responses=UNKNOWN)
async def users(
    request: Request,
    query: Annotated[str, Query(max_length=LONGEST_ID, description="Start of the id.")] = "",
    limit: Found = 20,
    run: RunName = None,
) -> Response:
    """Users by the start of their id; without a query those with the most training items."""

    def find(answering: Answering) -> dict[str, Any]:
        loaded = answering.run
        ids, counts = loaded.bundle.about.users, loaded.bundle.seen.counts
        found = [
            {"id": ids[user], "n_history": int(counts[user])}
            for user in loaded.users_like(query, limit)
        ]
        return {"run": loaded.name, "users": found}

    return await _service(request).answer(run, find)


@router.get(
    "/v1/users/{user:path}/recommendations",
    response_model=answers.Recommendations,
    responses=UNKNOWN,
)
async def recommendations(
    request: Request,
    user: UserId,
    k: K = 10,
    exclude_seen: ExcludeSeen = True,
    branch: Branch = FUSED,
    category: Category = None,
    run: RunName = None,
) -> Response:
    """The best items for a user that the model was trained on."""
    wanted, service = Wanted(branch, k, exclude_seen, category), _service(request)
    return await service.answer(
        run,
        lambda answering: ranking.for_user(answering.run, user, wanted),
        brief=service.served.now.run.fast,
    )


@router.get("/v1/users/{user:path}/history", response_model=answers.History, responses=UNKNOWN)
async def history(request: Request, user: UserId, run: RunName = None) -> Response:
    """The items of a user: those that the model was trained on, and those held out."""

    def look_up(answering: Answering) -> dict[str, Any]:
        loaded = answering.run
        row = loaded.user(user)
        parts = [loaded.history.of(row, trained_on=part) for part in (True, False)]
        trained, held_out = (
            [loaded.catalogue.card(item) for item in part[:MOST_HISTORY]] for part in parts
        )
        left_out = sum(max(0, len(part) - MOST_HISTORY) for part in parts)
        answer = {"run": loaded.name, "user": user, "items": trained, "held_out": held_out}
        return {**answer, "left_out": left_out}

    return await _service(request).answer(run, look_up, brief=True)


@router.post(
    "/v1/recommendations",
    response_model=answers.HistoryRecommendations,
    responses=UNKNOWN | BODY,
)
async def recommendations_for_history(
    request: Request, body: HistoryQuery, run: RunName = None
) -> Response:
    """The best items for a new user, by a history of items; the model is not trained again."""
    wanted = Wanted(body.branch, body.k, body.exclude_seen, body.category)
    return await _service(request).answer(
        run, lambda answering: ranking.for_history(answering.run, body.history, wanted)
    )


@router.get("/v1/items/{asin:path}/similar", response_model=answers.Similar, responses=UNKNOWN)
async def similar(
    request: Request, asin: ItemId, k: K = 10, modality: Kind = "fused", run: RunName = None
) -> Response:
    """Items that are like an item: by the model, by text, by picture, or by purchases."""
    return await _service(request).answer(
        run, lambda answering: answering.alike.to(asin, modality, k)
    )


@router.get("/v1/items/{asin:path}", response_model=answers.Item, responses=UNKNOWN)
async def item(request: Request, asin: ItemId, run: RunName = None) -> Response:
    """An item."""

    def look_up(answering: Answering) -> dict[str, Any]:
        loaded = answering.run
        row = loaded.item(asin)
        return {
            "run": loaded.name,
            **loaded.catalogue.card(row),
            "categories": loaded.catalogue.categories[row],
            "n_users": int(loaded.popularity[row]),
        }

    return await _service(request).answer(run, look_up, brief=True)


@router.get("/v1/explain", response_model=answers.Explanation, responses=UNKNOWN)
async def why(
    request: Request,
    item: Annotated[str, Query(min_length=1, max_length=LONGEST_ID, description="Raw id.")],
    user: Annotated[
        str | None, Query(min_length=1, max_length=LONGEST_ID, description="Raw id.")
    ] = None,
    history: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]],
        Query(max_length=MOST_HISTORY, description="Raw ids of items; repeat the parameter."),
    ] = [],  # noqa: B006 - FastAPI copies it
    run: RunName = None,
) -> Response:
    """Why an item is recommended to a user, or for a history: give one of the two."""
    if (user is None) == (not history):
        raise Problem(404, "nobody to explain it to: give either user or history")

    def work(answering: Answering) -> dict[str, Any]:
        if user is not None:
            return explain.for_user(answering.run, user, item)
        return explain.for_history(answering.run, history, item)

    return await _service(request).answer(run, work)


@router.get("/v1/search", response_model=answers.Found, responses=UNKNOWN)
async def search(
    request: Request,
    q: Annotated[str, Query(max_length=LONGEST_QUERY, description="Words of the title.")],
    limit: Found = 20,
    run: RunName = None,
) -> Response:
    """Items whose title, brand or id contains every word."""

    def find(answering: Answering) -> dict[str, Any]:
        catalogue = answering.run.catalogue
        items = [catalogue.card(item) for item in catalogue.search(q, limit)]
        return {"run": answering.run.name, "items": items}

    return await _service(request).answer(run, find)


@router.get("/v1/categories", response_model=answers.Categories, responses=UNKNOWN)
async def categories(request: Request, limit: Found = 100, run: RunName = None) -> Response:
    """The categories of all levels, the largest first."""

    def find(answering: Answering) -> dict[str, Any]:
        sizes = {name: len(each) for name, each in answering.run.catalogue.by_category.items()}
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:limit]
        rows = [{"name": name, "items": sizes[name]} for name in largest]
        return {"run": answering.run.name, "categories": rows}

    return await _service(request).answer(run, find)


@router.get(
    "/v1/pictures/{asin:path}",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}}, "description": "The picture"},
        304: {"description": "The caller has it already (If-None-Match)"},
        **UNKNOWN,
    },
)
async def picture(request: Request, asin: ItemId, run: RunName = None) -> Response:
    """The picture of an item."""
    service, known = _service(request), request.headers.get("if-none-match", "")

    def work(answering: Answering) -> Response:
        digest = pictures.digest_of(answering.run, asin)
        headers = {"etag": f'"{digest}"', "cache-control": "private, max-age=3600"}
        if digest in known:
            return Response(status_code=304, headers=headers)
        return pictures.PictureAnswer(pictures.checked(answering.run, digest), headers)

    return await service.compute(run, work)


@router.post("/v1/session", status_code=204, response_class=Response, responses=BODY)
async def open_session(request: Request) -> Response:
    """Set a cookie that stands for the token, so that a browser can show pictures."""
    answer = Response(status_code=204)
    access = request.app.state.access
    if access.token:
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, access.session, httponly=True, samesite="strict", secure=secure)
    return answer


@router.delete("/v1/session", status_code=204, response_class=Response)
async def close_session() -> Response:
    """Remove the cookie."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.get("/healthz", response_model=answers.Health)
async def healthz() -> Response:
    """Whether the process answers."""
    return answers.json({"status": "ok"})


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters in the Prometheus text format."""
    service = _service(request)
    served = service.served
    gauges = [
        (
            f'brmrs_served_run_info{{run="{served.now.run.name}"}}',
            "The served run, always 1.",
            1.0,
        ),
        ("brmrs_swaps", "Changes of the served run since this worker started.", served.swaps),
        (
            "brmrs_swap_failed",
            "Whether the run that should be served could not be loaded.",
            float(bool(served.problem)),
        ),
    ]
    return Response(service.counters.text(gauges), media_type=CONTENT_TYPE)


# As the metrics name them.
NAMES = [route.name for route in router.routes if isinstance(route, APIRoute)]
