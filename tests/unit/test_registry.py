"""The registry of handlers."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from queues.handlers import Message, handler, registry
from queues.handlers.registry import HandlerError
from queuesite.foundation.errors import InvalidInput
from tests.conftest import Configure

WriteModule = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of this test's own, which has discovered nothing yet."""
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(registry, "_discovered", False)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Writes a module and has it found."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def do_nothing(message: Message) -> None:
    """Does nothing.

    At all.
    """


async def do_nothing_slowly(message: Message) -> None:
    pass


class TestRegister:
    def test_function_is_found_by_its_name_and_stays_itself(self) -> None:
        assert handler("orders")(do_nothing) is do_nothing

        found = registry.registered()["orders"]
        assert found.function is do_nothing
        assert found.path == "tests.unit.test_registry.do_nothing"
        assert found.summary == "Does nothing."
        assert not found.is_async

    def test_coroutine_function(self) -> None:
        handler("slow")(do_nothing_slowly)

        assert registry.registered()["slow"].is_async
        assert registry.registered()["slow"].summary == ""

    def test_two_functions_of_one_name_are_refused(self) -> None:
        handler("orders")(do_nothing)

        with pytest.raises(HandlerError) as caught:
            handler("orders")(do_nothing_slowly)

        for place in ("'orders'", "test_registry.do_nothing ", "test_registry.do_nothing_slowly"):
            assert place in str(caught.value)
        assert registry.registered()["orders"].function is do_nothing
        assert caught.value.exit_code == 2

    def test_function_that_is_imported_again_is_no_duplicate(self) -> None:
        handler("orders")(do_nothing)
        handler("orders")(do_nothing)

        assert list(registry.registered()) == ["orders"]

    def test_function_may_have_two_names(self) -> None:
        handler("orders")(do_nothing)
        handler("returns")(do_nothing)

        assert set(registry.registered()) == {"orders", "returns"}

    def test_forgotten_brackets_are_told(self) -> None:
        with pytest.raises(HandlerError, match=r"as in @handler\('orders'\)"):
            handler(do_nothing)  # type: ignore[arg-type]

    @pytest.mark.parametrize("name", ["", "x" * 101])
    def test_name_that_the_model_does_not_hold(self, name: str) -> None:
        with pytest.raises(HandlerError, match="1 to 100 characters"):
            handler(name)


class Plain:
    """An object that is called."""

    def __call__(self, message: Message) -> None:
        pass


class AsyncCallable:
    async def __call__(self, message: Message) -> None:
        pass

    async def method(self, message: Message) -> None:
        pass


class Generating:
    def __call__(self, message: Message) -> Iterator[int]:
        yield 1

    def method(self, message: Message) -> Iterator[int]:
        yield 1

    @staticmethod
    def static(message: Message) -> Iterator[int]:
        yield 1


def generate(message: Message) -> Iterator[int]:
    yield 1


async def generate_slowly(message: Message) -> AsyncIterator[int]:
    yield 1


class TestWhatCannotHandle:
    @pytest.mark.parametrize(
        "function",
        [
            generate,
            generate_slowly,
            partial(generate),
            partial(partial(generate_slowly)),
            Generating(),
            partial(Generating()),
            Generating().method,
            Generating.static,
        ],
    )
    def test_generator_functions_are_refused(self, function: Callable[[Message], object]) -> None:
        with pytest.raises(HandlerError, match=r"@handler\('orders'\) cannot take .*: it is a generator function"):
            handler("orders")(function)
        assert registry.registered() == {}

    def test_classes_are_refused(self) -> None:
        with pytest.raises(HandlerError, match=r"cannot take AsyncCallable: it is a class"):
            handler("orders")(AsyncCallable)

    def test_what_cannot_be_called_is_refused(self) -> None:
        with pytest.raises(HandlerError, match=r"cannot take 3: it cannot be called"):
            handler("orders")(3)  # type: ignore[arg-type]

    def test_a_wrapper_may_run_a_generator(self) -> None:
        @wraps(generate)
        def drain(message: Message) -> None:
            for _ in generate(message):
                pass

        registered: object = handler("orders")(drain)
        assert registered is drain


class TestWhatIsCalled:
    @pytest.mark.parametrize(
        ("function", "path", "is_async"),
        [
            (partial(do_nothing), "do_nothing", False),
            (partial(do_nothing_slowly), "do_nothing_slowly", True),
            (Plain(), "Plain", False),
            (AsyncCallable(), "AsyncCallable", True),
            (partial(AsyncCallable()), "AsyncCallable", True),
            (AsyncCallable().method, "AsyncCallable.method", True),
            (len, "len", False),
        ],
    )
    def test_it_has_a_path_and_is_known_to_be_async(
        self, function: Callable[[Message], object], path: str, is_async: bool
    ) -> None:
        handler("orders")(function)
        handler("orders")(function)  # as when its module is imported again

        found = registry.registered()["orders"]
        assert found.path in {f"{__name__}.{path}", f"builtins.{path}"}
        assert found.is_async is is_async


class TestDiscovery:
    def test_built_in_handlers_are_there(self) -> None:
        # Their module was imported before, so it is done anew.
        sys.modules.pop("queues.handlers.builtin", None)

        assert {"http", "log", "simulate"} <= set(registry.all_handlers())

    def test_modules_of_the_configuration_are_imported(self, module: WriteModule, configure: Configure) -> None:
        names = [
            module(f"discovered_{i}", f"from queues.handlers import handler\n@handler('h{i}')\ndef f(message): ...\n")
            for i in (2, 1)
        ]
        configure(handler_modules=",".join(names))

        assert registry.get("h1").path == "discovered_1.f"
        found = list(registry.all_handlers())
        assert found == sorted(found)
        assert {"h1", "h2"} <= set(found)

    def test_modules_of_installed_apps_are_imported(
        self, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        imported: list[str] = []
        monkeypatch.setattr(registry, "_import", lambda name, origin: imported.append(name))

        registry.discover()

        assert "queues.handlers" in imported  # the app `queues` has a module of that name
        assert "django.contrib.auth.handlers" in imported  # so has this one, which has nothing to do with ours
        assert "jobs.handlers" not in imported

    def test_it_is_done_once(self, module: WriteModule, configure: Configure) -> None:
        name = module("counted", "import builtins\nbuiltins.imports_seen = getattr(builtins, 'imports_seen', 0) + 1\n")
        configure(handler_modules=name)

        registry.discover()
        sys.modules.pop(name)
        registry.discover()

        import builtins

        assert builtins.__dict__.pop("imports_seen") == 1

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("1 / 0\n", "ZeroDivisionError: division by zero"),
            ("import no_such_module_anywhere\n", "No module named 'no_such_module_anywhere'"),
            ("def broken(:\n", "SyntaxError"),
            ("raise ValueError('two\\nlines')\n", "ValueError: two lines"),
        ],
    )
    def test_module_that_cannot_be_imported_is_named(
        self, module: WriteModule, configure: Configure, source: str, words: str
    ) -> None:
        name = module("broken_module", source)
        configure(handler_modules=name)

        with pytest.raises(HandlerError) as caught:
            registry.discover()

        shown = str(caught.value)
        assert shown.startswith("handler module broken_module (named in HANDLER_MODULES) cannot be imported: ")
        assert words in shown
        assert "broken_module.py" in shown
        assert "frozen" not in shown
        assert "\n" not in shown

    def test_module_that_is_not_there(self, configure: Configure) -> None:
        configure(handler_modules="no_such_module_anywhere")

        with pytest.raises(HandlerError, match=r"No module named 'no_such_module_anywhere'$"):
            registry.discover()

    def test_failure_is_reported_again_until_it_is_mended(
        self, module: WriteModule, configure: Configure, tmp_path: Path
    ) -> None:
        configure(handler_modules=module("mended", "1 / 0\n"))
        for _ in range(2):
            with pytest.raises(HandlerError):
                registry.discover()

        (tmp_path / "mended.py").write_text("# it took a while, and many more characters than before\n")
        registry.discover()

    def test_duplicates_between_modules_are_refused(self, module: WriteModule, configure: Configure) -> None:
        names = [
            module(f"twice_{i}", "from queues.handlers import handler\n@handler('same')\ndef f(message): ...\n")
            for i in (1, 2)
        ]
        configure(handler_modules=",".join(names))

        with pytest.raises(HandlerError, match=r"'same' is registered twice: by twice_1\.f and by twice_2\.f"):
            registry.discover()

    def test_unknown_name_is_answered_with_the_known_ones(self) -> None:
        handler("orders")(do_nothing)

        with pytest.raises(InvalidInput, match=r"no handler 'nobody'; registered handlers: .*orders") as caught:
            registry.get("nobody")

        assert caught.value.field == "handler"


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int
    color: str = "red"

    @field_validator("color")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in {"red", "blue"}:
            raise ValueError(f"{value!r} is not a colour")
        return value


class TestOptions:
    def test_options_become_the_model(self) -> None:
        handler("painter", options=Options)(do_nothing)

        parsed = registry.registered()["painter"].parse_options({"count": 3})

        assert parsed == Options(count=3, color="red")

    def test_every_wrong_option_is_named(self) -> None:
        handler("painter", options=Options)(do_nothing)

        with pytest.raises(InvalidInput) as caught:
            registry.registered()["painter"].parse_options({"count": "many", "color": "loud", "size": 1})

        shown = str(caught.value)
        assert shown.startswith("options of handler 'painter': ")
        assert "count: Input should be a valid integer" in shown
        assert "color: 'loud' is not a colour" in shown
        assert "size: Extra inputs are not permitted" in shown
        assert caught.value.field == "handler_options"

    def test_handler_without_options_takes_none(self) -> None:
        handler("plain")(do_nothing)

        assert registry.registered()["plain"].parse_options({}) is None
        with pytest.raises(InvalidInput, match="handler 'plain' takes no options, but got a, b"):
            registry.registered()["plain"].parse_options({"b": 1, "a": 2})
