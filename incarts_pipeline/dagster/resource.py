"""Resource with the settings of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from incarts_pipeline.api import IncartsClient
    from incarts_pipeline.ledger import Overview
    from incarts_pipeline.settings import Settings


class IncartsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which Incarts, project and ledger; what isn't given is read from the environment.

    Give the key as `dg.EnvVar("INCARTS_API_KEY")`, or not at all: a literal would be shown in the
    UI. Values that are given win over the environment, and that over `incarts.toml`.
    """

    base_url: str | None = Field(
        default=None, description="INCARTS_API_BASE_URL: https, up to the version."
    )
    api_key: str | None = Field(
        default=None,
        repr=False,
        description='The API key, as EnvVar("INCARTS_API_KEY"); never a literal.',
    )
    project_id: str | None = Field(default=None, description="INCARTS_PROJECT_ID: owns the links.")
    ledger: str | None = Field(
        default=None,
        description="INCARTS_LEDGER: the memory of what was sent, on a disk that lasts.",
    )
    target: str | None = Field(default=None, description="A [targets.NAME] table of incarts.toml.")
    rate: str | None = Field(default=None, description="adaptive (learns the limit), or fixed:N.")
    max_rps: str | None = Field(default=None, description="Ceiling in requests a second, or none.")
    idempotency_window: str | None = Field(
        default=None, description="How long Incarts is trusted to remember a key, like 25m."
    )
    require_signature: str | None = Field(
        default=None,
        description="Only plan files signed with this public key are carried out; see plan_file.",
    )

    def settings(self) -> Settings:
        """Return the library's settings.

        Raises:
            SettingsError: a value is wrong; names the setting, and never shows a key.
        """
        from incarts_pipeline.outgoing import SecretText
        from incarts_pipeline.settings import load_settings

        # Only what was given, so that None here doesn't hide a value of the environment.
        names = ("base_url", "api_key", "project_id", "ledger", "rate", "max_rps")
        more = ("idempotency_window", "require_signature")
        given = {name: getattr(self, name) for name in (*names, *more)}
        overrides = {name: value for name, value in given.items() if value is not None}
        if self.api_key is not None:  # hidden at once, for whoever looks at this frame
            overrides["api_key"] = given["api_key"] = SecretStr(SecretText(self.api_key))
        return load_settings(target=self.target, **overrides)

    def client(self) -> IncartsClient:
        """Return the plain API client: an asynchronous context manager."""
        from incarts_pipeline.api import client_of

        return client_of(self.settings())

    def overview(self) -> Overview:
        """Count what the ledger holds.

        Raises:
            LedgerError: there is no ledger yet, or it can't be read.
        """
        from incarts_pipeline.maintenance import ledger_overview

        return ledger_overview(self.settings())
