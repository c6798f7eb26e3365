"""Settings: where each comes from, which wins, what is refused, and that keys are never shown."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from incarts_pipeline.errors import SettingsError
from incarts_pipeline.models import Limits
from incarts_pipeline.settings import (
    Settings,
    key_fingerprint,
    load_settings,
    own_file,
    parse_duration,
)
from incarts_pipeline.text import suggest

SECRET = "ic_live_" + "0123456789abcdef"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty folder, without the caller's settings."""
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)


def write(text: str, path: str = "incarts.toml") -> Path:
    Path(path).write_text(text)
    return Path(path)


def write_own(text: str) -> Path:
    """Write the person's own settings file."""
    own_file().parent.mkdir(parents=True, exist_ok=True)
    own_file().write_text(text)
    own_file().chmod(0o600)
    return own_file()


def test_defaults() -> None:
    """Without file, variables and arguments, only what has a safe default is set."""
    settings = load_settings()
    assert settings.base_url is settings.api_key is settings.project_id is settings.scopes is None
    assert settings.ledger == Path("incarts-ledger.db")
    assert settings.idempotency_window == 25 * 60
    assert settings.max_rps == 100
    assert settings.limits == Limits()


def test_each_source_wins_over_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's target beats the file, the environment beats both, an argument beats all."""
    write(
        'project_id = "file"\nledger = "file.db"\nmax_rps = 7\nread_timeout = "1m"\n'
        '[targets.staging]\nledger = "staging.db"\nmax_rps = 8\nread_timeout = 2\n'
        '[targets.prod]\nledger = "prod.db"\n'
    )
    assert load_settings().ledger == Path("file.db")
    assert load_settings(target="prod").ledger == Path("prod.db")
    monkeypatch.setenv("INCARTS_MAX_RPS", "9")
    monkeypatch.setenv("INCARTS_READ_TIMEOUT", "3")
    settings = load_settings(target="staging", read_timeout=4)
    assert settings.project_id == "file"
    assert settings.ledger == Path("staging.db")
    assert settings.max_rps == 9
    assert settings.read_timeout == 4


def test_values_are_read_from_every_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations, rates, scopes and limits are taken as people write them."""
    monkeypatch.setenv("INCARTS_IDEMPOTENCY_WINDOW", "24h")
    monkeypatch.setenv("INCARTS_SCOPES", "links:write, retailers:walmart\n links:read")
    monkeypatch.setenv("INCARTS_LEDGER", "")
    settings = load_settings(max_rps="none", max_in_flight="8")
    assert settings.idempotency_window == 86_400
    assert settings.scopes == {"links:write", "retailers:walmart", "links:read"}
    assert settings.ledger == Path("incarts-ledger.db")
    assert settings.max_rps is None
    assert settings.max_in_flight == 8


def test_limits_of_file_and_target_are_one_table() -> None:
    """A target's limits replace those that it names and leave the others."""
    file = write(
        "[limits]\nmax_products = 5\nmax_quantity = 6\n[targets.a.limits]\nmax_products = 7\n",
        "other.toml",
    )
    assert load_settings(file=file).limits == Limits(max_products=5, max_quantity=6)
    limits = load_settings(file=file, target="a").limits
    assert limits == Limits(max_products=7, max_quantity=6)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ('projct_id = "x"', None, "unknown setting 'projct_id'. Did you mean \"project_id\""),
        ('[targets.a]\nladger = "x"', None, 'Did you mean "ledger"'),
        ('INCARTS_PROJECT_ID = "x"', None, 'Did you mean "project_id"'),
        ("[limits]\nmax_product = 1", None, 'Did you mean "max_products"'),
        ("[limits]\nmax_products = 0", None, "max_products must be 1 or more"),
        ("[targets.staging]", "stagin", "no target 'stagin'. Did you mean \"staging\""),
        ("", "staging", "It has none"),
        ('targets = "x"', None, "targets that are no tables"),
        ("x = ", None, "incarts.toml is not TOML"),
        ("project_id = 5", None, "project_id (INCARTS_PROJECT_ID)"),
    ],
)
def test_files_that_make_no_sense(text: str, target: str | None, message: str) -> None:
    """Unknown settings and targets are refused, with the nearest one that exists."""
    write(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(target=target)
    assert message in str(caught.value)


def test_files_that_are_not_there() -> None:
    """A target needs a file, and a file that was named must be there."""
    with pytest.raises(SettingsError, match=r"no incarts\.toml here to find target 'prod'"):
        load_settings(target="prod")
    with pytest.raises(SettingsError, match=r"gone\.toml can't be read: No such file"):
        load_settings(file=Path("gone.toml"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_url": "http://api.example.com"}, "use https"),
        ({"base_url": "http://localhost.example.com"}, "use https"),
        ({"base_url": "api.example.com"}, "not an http(s) URL"),
        ({"base_url": "https://a b.example.com"}, "not an http(s) URL"),
        ({"base_url": f"https://u:{SECRET}@example.com"}, "no query, fragment or credentials"),
        ({"base_url": "https://example.com?x=1"}, "no query"),
        ({"base_url": "https://example.com:99999"}, "Port out of range"),
        ({"base_url": "https://example.com/v1"}, "leave it out: https://example.com."),
        ({"base_url": "https://example.com/a/v1/links//"}, "leave it out: https://example.com/a."),
        ({"project_id": "x" * 129}, "at most 128"),
        ({"project_id": ""}, "at least 1"),
        ({"idempotency_window": "soon"}, "is not a duration"),
        ({"idempotency_window": 0}, "greater than 0"),
        ({"max_rps": "fast"}, "max_rps"),
        ({"rate": "fixed:fast"}, "neither adaptive nor fixed:N"),
        ({"rate": "fixed:0"}, "neither adaptive nor fixed:N"),
        ({"max_rps": "inf"}, "finite"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"read_timeout": float("nan")}, "is not a duration"),
        ({"legder": "x"}, 'Did you mean "ledger"'),
        ({"api_key": SECRET, "api_key_file": Path("key")}, "both given"),
    ],
)
def test_values_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    """Each wrong value is refused with its setting's name and the rule."""
    with pytest.raises(SettingsError) as caught:
        load_settings(**values)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


def test_variables_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """All wrong variables are named at once; a limit that is no JSON as well."""
    monkeypatch.setenv("INCARTS_MAX_RPS", "-1")
    monkeypatch.setenv("INCARTS_API_BASE_URL", "ftp://x")
    with pytest.raises(SettingsError, match=r"INCARTS_API_BASE_URL.*INCARTS_MAX_RPS"):
        load_settings()
    monkeypatch.setenv("INCARTS_LIMITS", "{")
    with pytest.raises(SettingsError, match="limits"):
        load_settings()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.example.com/", "https://api.example.com"),
        (" https://api.example.com/base/ ", "https://api.example.com/base"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_base_urls(url: str, kept: str) -> None:
    """Base URLs lose their last slash; plain http is for this machine."""
    assert load_settings(base_url=url).base_url == kept


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("25m", 1500), ("1h30m", 5400), ("1h 30m", 5400), ("2D", 172_800),
        ("0.5h", 1800), (90, 90), (0.25, 0.25),
    ],
)  # fmt: skip
def test_durations(text: str | float, seconds: float) -> None:
    """Durations are seconds, or numbers with units."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5x", "-5", "nan", "inf", "1h30", "٣s", True, -1, None])
def test_what_is_no_duration(text: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(SettingsError, match="is not a duration"):
        parse_duration(text)


def test_what_is_missing_is_named() -> None:
    """What a stage needs and doesn't have is named with its variables, all at once."""
    settings = load_settings(project_id="p")
    assert settings.for_planning().project_id == "p"
    with pytest.raises(SettingsError) as caught:
        settings.for_calls()
    message = str(caught.value)
    assert "INCARTS_API_BASE_URL, INCARTS_API_KEY or INCARTS_API_KEY_FILE." in message
    assert "may also have base_url" in message
    assert "INCARTS_PROJECT_ID" not in message
    with pytest.raises(SettingsError, match="INCARTS_API_KEY"):
        settings.for_client()


def test_what_the_next_step_would_miss_is_told() -> None:
    """Who needs only a project to plan learns at once what sending needs, and exports once."""
    with pytest.raises(SettingsError) as caught:
        load_settings().for_planning()
    assert caught.value.message == "Not set: INCARTS_PROJECT_ID."
    needed = (
        "Making links also needs INCARTS_API_BASE_URL, INCARTS_API_KEY or INCARTS_API_KEY_FILE."
    )
    assert needed in str(caught.value)
    # Who has set nothing may have no account; who has set something is spared the advice.
    assert "`incarts sandbox` prints what to export" in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        load_settings(base_url="https://api.example.com").for_planning()
    assert "sandbox" not in str(caught.value)


def test_what_calls_are_made_with_is_there_and_hides_the_key() -> None:
    """A resolved value has what its task needs, and shows the key no more than the settings do."""
    given = {"base_url": "https://api.example.com", "project_id": "p", "api_key": SECRET}
    known = load_settings(**given).for_calls()
    assert (known.base_url, known.project_id) == (given["base_url"], "p")
    assert known.api_key.get_secret_value() == SECRET
    assert SECRET not in repr(known)
    assert load_settings(base_url=given["base_url"], project_id="p").for_ledger().api_key is None


def key_of(settings: Settings) -> str:
    """Return the key that the settings have."""
    assert settings.api_key is not None
    return settings.api_key.get_secret_value()


def test_key_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key's file is named by a variable or argument; its last newline isn't part of the key."""
    write(f"{SECRET}\n", "key").chmod(0o600)
    assert key_of(load_settings(api_key_file=Path("key"))) == SECRET
    monkeypatch.setenv("INCARTS_API_KEY_FILE", "key")
    assert key_of(load_settings()) == SECRET
    monkeypatch.setenv("INCARTS_API_KEY", "another-key")
    with pytest.raises(SettingsError, match="both given"):
        load_settings()


def test_key_and_key_file_replace_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key given nearer wins over a key's file from further away, and the other way round."""
    write(f"{SECRET}\n", "key").chmod(0o600)
    write_own('api_key_file = "gone"\n')
    monkeypatch.setenv("INCARTS_API_KEY", "near-key")
    assert key_of(load_settings()) == "near-key"
    nearer = load_settings(api_key_file=Path("key"))
    assert key_of(nearer) == SECRET


@pytest.mark.parametrize("line", ["api_key", "INCARTS_API_KEY", "[targets.prod]\napi_key"])
def test_a_key_in_the_file_is_refused(line: str) -> None:
    """A key doesn't belong into a file that gets committed, under whatever name."""
    write(f'{line} = "{SECRET}"\n')
    with pytest.raises(SettingsError, match="files get committed") as caught:
        load_settings()
    assert_hidden(caught.value)


def assert_hidden(error: BaseException) -> None:
    """No form of an error, nor of those behind it, may show the key, not even its frames."""
    chain: BaseException | None = error
    while chain is not None:
        shown = [str(chain), repr(chain), repr(vars(chain)), repr(chain.args)]
        if hasattr(chain, "errors"):
            shown.append(repr(chain.errors()))
        assert not any(SECRET in text for text in shown)
        chain = chain.__cause__ or chain.__context__
    inner = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in inner.stack:
        if frame.filename != __file__:
            assert SECRET not in repr(frame.locals)


def bad_keys() -> list[Any]:
    return [f"{SECRET} {SECRET}", f"{SECRET}\nX: y", f"{SECRET}€", [SECRET], {"key": SECRET}]


@pytest.mark.parametrize("number", range(5))
def test_wrong_keys_are_refused_unseen(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that no header can carry is refused without showing it, wherever it comes from."""
    with pytest.raises(SettingsError, match=r"api_key \(INCARTS_API_KEY\)") as caught:
        load_settings(api_key=bad_keys()[number])
    assert_hidden(caught.value)
    if isinstance(bad_keys()[number], str):
        monkeypatch.setenv("INCARTS_API_KEY", bad_keys()[number])
        with pytest.raises(SettingsError) as caught:
            load_settings()
        assert_hidden(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff" + SECRET.encode(), b"a " + SECRET.encode()]
)
def test_wrong_key_files_are_refused_unseen(content: bytes) -> None:
    """An empty file, or one with more than a key, is refused without showing its content."""
    Path("key").write_bytes(content)
    Path("key").chmod(0o600)
    with pytest.raises(SettingsError, match="key must hold the API key and nothing else") as caught:
        load_settings(api_key_file=Path("key"))
    assert_hidden(caught.value)
    with pytest.raises(SettingsError, match="gone can't be read"):
        load_settings(api_key_file=Path("gone"))


def test_another_error_beside_the_key_hides_it() -> None:
    """When something else is wrong, the key that was given isn't shown either."""
    with pytest.raises(SettingsError, match="max_rps") as caught:
        load_settings(api_key=SECRET, max_rps="x")
    assert_hidden(caught.value)


def test_settings_hide_the_key_in_every_form() -> None:
    """Neither text nor dumps of settings show the key, also when it came from a file."""
    write(SECRET, "key").chmod(0o600)
    for settings in (load_settings(api_key=SECRET), load_settings(api_key_file=Path("key"))):
        forms = [repr(settings), str(settings), repr(settings.model_dump())]
        assert SECRET not in "".join([*forms, settings.model_dump_json()])
        copied = pickle.loads(pickle.dumps(settings))
        assert key_of(copied) == SECRET


def test_settings_cannot_be_changed() -> None:
    """Settings are values."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().project_id = "x"  # type: ignore[misc]


def test_fingerprints_tell_keys_apart() -> None:
    """The same key has the same short id on every machine, and another key another one."""
    assert key_fingerprint(SecretStr("x")) == "b366f4313646"
    assert key_fingerprint(SecretStr(SECRET)) != key_fingerprint(SecretStr(SECRET + "0"))


def test_suggest() -> None:
    """The nearest name is suggested whatever its case, and nothing when none is near."""
    assert suggest("SKU ", ["sku", "name"]) == ' Did you mean "sku"?'
    assert suggest("xyz", ["sku", "name"]) == ""
    assert suggest("sku", []) == ""
