"""A key is no plain text in a frame, a pickle or a child's environment."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest
from pydantic import SecretStr

from incarts_pipeline.api.client import IncartsClient
from incarts_pipeline.errors import SettingsError
from incarts_pipeline.outgoing import SecretKey, environment_of_child
from incarts_pipeline.settings import load_settings

KEY = "ic_live_0123456789abcdef"


def test_pickled_settings_have_no_key() -> None:
    """A pickle has the fingerprint; where the key is known, it is found again by that."""
    settings = load_settings(api_key=KEY, base_url="https://api.example.com", project_id="p")
    for value in (settings, settings.for_calls(), settings.api_key):
        assert KEY.encode() not in pickle.dumps(value)
    assert settings.api_key is not None
    assert pickle.loads(pickle.dumps(settings)).api_key == settings.api_key
    assert copy.deepcopy(settings).api_key == settings.api_key


def test_a_pickle_of_an_unknown_key_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that doesn't know the key has none, unless its environment does."""
    data = pickle.dumps(SecretKey("ic_live_elsewhere")).replace(b"ic", b"ic")
    monkeypatch.setattr("incarts_pipeline.outgoing.keys.kept_secrets", tuple)
    assert pickle.loads(data).get_secret_value() == ""
    monkeypatch.setenv("INCARTS_API_KEY", "ic_live_elsewhere")
    assert pickle.loads(data).get_secret_value() == "ic_live_elsewhere"


def test_no_frame_shows_the_key() -> None:
    """Neither a refused key nor a client's failure shows it among the local variables."""
    with pytest.raises(SettingsError) as caught:
        IncartsClient(base_url="https://api.example.com", api_key=SecretStr(f"{KEY} x"))
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [one for one in told.stack if "incarts_pipeline" in one.filename]
    assert frames
    assert KEY not in "".join(str(one.locals) for one in frames)


@pytest.mark.parametrize("key", ["short", "seven77"])
def test_a_key_that_would_garble_texts_is_refused(key: str) -> None:
    """A key of fewer than eight characters can't be kept out of messages."""
    with pytest.raises(SettingsError, match="8 characters or more"):
        load_settings(api_key=key)
    with pytest.raises(SettingsError, match="8 characters or more"):
        IncartsClient(base_url="https://api.example.com", api_key=SecretStr(key))


def test_children_get_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child's environment has what programs need to run, and nothing else."""
    monkeypatch.setenv("INCARTS_API_KEY", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    found = environment_of_child()
    assert "PATH" in found
    assert not {"INCARTS_API_KEY", "AWS_SECRET_ACCESS_KEY"} & set(found)
