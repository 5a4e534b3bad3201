"""Where a test stood when its time was over: a coroutine's own stack is not in a traceback."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

_LOOP = pytest.StashKey[asyncio.AbstractEventLoop]()
_TOO_LATE = "pytest-timeout"


@pytest.fixture(scope="session", autouse=True)
async def loop_of_the_session(pytestconfig: pytest.Config) -> None:
    """What every test and fixture runs on, kept for the hook below."""
    pytestconfig.stash[_LOOP] = asyncio.get_running_loop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Adds to the report of a test that was too slow what each task waits for."""
    report: pytest.TestReport = yield
    loop = item.config.stash.get(_LOOP, None)
    if loop and call.excinfo and _TOO_LATE in str(call.excinfo.value):
        report.sections.append(("where each task stood", _stacks(loop)))
    return report


def _stacks(loop: asyncio.AbstractEventLoop) -> str:
    text = io.StringIO()
    for task in asyncio.all_tasks(loop):
        text.write(f"{task.get_name()}\n")
        _awaiting(task.get_coro(), text)
    return text.getvalue()


def _awaiting(coro: Any, text: io.StringIO) -> None:
    """The whole chain of awaits: `Task.get_stack` ends at the first frame."""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "ag_frame", None)
        if frame is not None:
            code = frame.f_code
            text.write(f"  {code.co_filename}:{frame.f_lineno} {code.co_qualname}\n")
        coro = getattr(coro, "cr_await", None) or getattr(coro, "ag_await", None)
