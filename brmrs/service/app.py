"""The application: endpoints over the runs in memory."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from brmrs.errors import UserError
from brmrs.service import endpoints, pages
from brmrs.service.access import Access
from brmrs.service.answers import Error, json
from brmrs.service.guard import Guard
from brmrs.service.metrics import Counters
from brmrs.service.problem import Problem
from brmrs.service.served import Answering, Choice, ServedRuns

LOG = logging.getLogger(__name__)

# Statuses that any endpoint may answer with.
ANYWHERE: dict[int | str, dict[str, Any]] = {
    401: {"model": Error, "description": "The token is missing or wrong"},
    421: {"model": Error, "description": "The Host header names another host"},
    422: {"model": Error, "description": "A parameter is invalid"},
    503: {"model": Error, "description": "Too many requests at once, or the run is damaged"},
}


@dataclass
class Service:
    """What the endpoints share.

    Attributes:
        served: the runs in memory.
        pool: computes the answers, so that the event loop stays free.
        loader: loads other runs, one after the other, so that requests for runs in memory never
            wait for them.
        counters: of requests.
    """

    served: ServedRuns
    pool: ThreadPoolExecutor
    loader: ThreadPoolExecutor
    counters: Counters

    async def answer(
        self, run: str | None, function: Callable[[Answering], Any], *, brief: bool = False
    ) -> Response:
        """The JSON answer of a function of a run.

        Args:
            run: name of a run; None: the served one.
            function: gives the JSON values.
            brief: it takes less time than a change of threads; then it is computed at once.
        """

        @torch.inference_mode()  # not inherited from the thread that starts this one
        def work(answering: Answering) -> Response:
            return json(function(answering))

        if brief and run is None:
            return work(self.served.now)
        return await self.compute(run, work)

    async def compute(self, run: str | None, work: Callable[[Answering], Response]) -> Response:
        """The answer of a function of a run, computed in the pool.

        Args:
            run: name of a run; None: the served one.
            work: gives the answer.
        """
        loop = asyncio.get_running_loop()
        answering = self.served.in_memory(run)
        if answering is None:
            answering = await loop.run_in_executor(self.loader, self.served.get, run)
        return await loop.run_in_executor(self.pool, work, answering)


@dataclass(frozen=True)
class Settings:
    """How a process serves.

    Attributes:
        choice: which run.
        access: who may call.
        threads: that compute answers.
        counters: folder of the counters that all workers share; None: one of its own.
    """

    choice: Choice
    access: Access
    threads: int = 2
    counters: Path | None = None


def create(settings: Settings, served: ServedRuns | None = None) -> FastAPI:
    """The application.

    Args:
        settings: how to serve.
        served: the runs in memory; None: they are loaded when the application starts.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A request computes on one thread; requests run beside each other.
        torch.set_num_threads(1)
        with (
            tempfile.TemporaryDirectory(prefix="brmrs-service-") as own,
            ThreadPoolExecutor(settings.threads, "brmrs-answer") as pool,
            ThreadPoolExecutor(1, "brmrs-load") as loader,
        ):
            runs = served or ServedRuns(settings.choice)
            if served is None:
                runs.load()
            runs.watch()
            counters = Counters(settings.counters or Path(own), endpoints.NAMES)
            app.state.service = Service(runs, pool, loader, counters)
            yield
            runs.stop()

    app = FastAPI(
        title="brmrs",
        summary="Recommendations of a finished run",
        version="1",
        docs_url=None,  # its page would load scripts from another server
        redoc_url=None,
        lifespan=lifespan,
        responses=ANYWHERE,
    )
    app.include_router(endpoints.router)
    app.include_router(pages.router)
    app.add_middleware(Guard, access=settings.access, counters=lambda: app.state.service.counters)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(UserError, _damaged)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.state.access = settings.access
    return app


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return json({"error": error.message}, error.status)


async def _damaged(_: Request, error: Exception) -> Response:
    """A run that cannot answer, such as one whose scores overflow."""
    LOG.error("%s", error)
    return json({"error": str(error)}, 503)


async def _http(_: Request, error: Exception) -> Response:
    """Unknown addresses and methods."""
    assert isinstance(error, HTTPException)
    answer = json({"error": str(error.detail)}, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _invalid(_: Request, error: Exception) -> Response:
    """The first invalid parameter, without its value."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        return json({"error": "the body is no JSON"}, 422)
    where = ".".join(str(part) for part in fault["loc"][1:])[:200] or "body"
    return json({"error": f"{where}: {fault['msg']}"}, 422)
