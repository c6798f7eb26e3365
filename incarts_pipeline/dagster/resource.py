"""Resource with the settings of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, SecretStr

from incarts_pipeline.dagster.literals import no_secret

if TYPE_CHECKING:
    from incarts_pipeline.api import IncartsClient
    from incarts_pipeline.ledger import Overview
    from incarts_pipeline.pipeline import RunResult
    from incarts_pipeline.plan import PlanRequest
    from incarts_pipeline.settings import Settings
    from incarts_pipeline.workers import EnqueueResult
    from incarts_pipeline.write import WorkOptions, WorkResult


class FromEnvironment(dg.Config):
    """Value that is known by its variable alone, so that Dagster never has it.

    In run config it is written as Dagster's own are: `{env: INCARTS_API_KEY}`.
    """

    env: str = Field(description="The variable's name.")


class IncartsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Which Incarts, project and ledger; what isn't given is read from the environment.

    Give the key as `dg.EnvVar("INCARTS_API_KEY")`, or not at all: a literal, which the UI would
    show and Dagster store, is refused. Values that are given win over the environment, and that
    over `incarts.toml`.

    Raises:
        dagster.DagsterInvalidDefinitionError: a value is a secret.
    """

    base_url: str | None = Field(
        default=None, description="INCARTS_API_BASE_URL: https, up to the version."
    )
    api_key: FromEnvironment | None = Field(
        default=None,
        description='The API key, as EnvVar("INCARTS_API_KEY"), in YAML {env: INCARTS_API_KEY}.',
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

    # Any, since Dagster takes an EnvVar for every value.
    def __init__(self, **values: Any) -> None:
        key = values.get("api_key")
        if isinstance(key, dg.EnvVar):
            # Dagster would hand over the key itself, and keep it in what it shows of a run.
            values["api_key"] = {"env": key.env_var_name}
        elif isinstance(key, str | SecretStr):
            raise dg.DagsterInvalidDefinitionError(
                "IncartsResource has a literal api_key, which Dagster would show and store. "
                'Write api_key=dg.EnvVar("INCARTS_API_KEY"), and put the key into that variable.'
            )
        for name, value in values.items():
            if name != "api_key" and not isinstance(value, dg.EnvVar):
                no_secret(f"IncartsResource's {name}", value)
        super().__init__(**values)

    def settings(self) -> Settings:
        """Return the library's settings.

        Raises:
            SettingsError: a value is wrong; names the setting, and never shows a key.
        """
        from incarts_pipeline.settings import load_settings

        # Only what was given, so that None here doesn't hide a value of the environment.
        names = ("base_url", "project_id", "ledger", "rate", "max_rps", "idempotency_window")
        given = {name: getattr(self, name) for name in (*names, "require_signature")}
        overrides = {name: value for name, value in given.items() if value is not None}
        if self.api_key is not None:
            overrides["api_key"] = self._key(self.api_key.env)
        return load_settings(target=self.target, **overrides)

    def _key(self, variable: str) -> SecretStr:
        from incarts_pipeline.errors import SettingsError
        from incarts_pipeline.outgoing import SecretText

        if variable not in os.environ:
            raise SettingsError(
                f"There is no variable {variable}, which the resource's api_key names.",
                fix="Set it where Dagster starts its runs.",
            )
        # Hidden at once, for whoever looks at this frame.
        return SecretStr(SecretText(os.environ[variable]))

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

    def enqueue(
        self, request: PlanRequest, output: str, *, approve: str | None = None
    ) -> EnqueueResult:
        """Plan a catalog, and record what it calls for, for `work` in other processes.

        Args:
            request: what to plan.
            output: where it is to be published, which may know of links that the ledger lost;
                nothing is written.
            approve: the digest of the plan that a guard may let through.

        Raises:
            IncartsError: as `incarts_pipeline.plan_catalog` and `enqueue_plan` raise.
        """
        from incarts_pipeline.pipeline import plan_catalog
        from incarts_pipeline.sync import run_blocking
        from incarts_pipeline.workers import enqueue_plan
        from incarts_pipeline.write import WriteOptions

        settings, options = self.settings(), WriteOptions(approved=approve)
        with plan_catalog(request, settings) as plan:
            return run_blocking(
                lambda stop: enqueue_plan(plan, settings, output, options=options, stop=stop)
            )

    def work(self, options: WorkOptions | None = None) -> WorkResult:
        """Carry out what is enqueued for the project, beside as many others as there are.

        Raises:
            IncartsError: as `incarts_pipeline.work` raises.
        """
        from incarts_pipeline.sync import run_blocking
        from incarts_pipeline.workers import work

        settings = self.settings()
        return run_blocking(lambda stop: work(settings, options=options, stop=stop))

    def publish(self, request: PlanRequest, output: str) -> RunResult:
        """Plan a catalog, and write its tables from what the ledger says now; sends nothing.

        Raises:
            IncartsError: as `incarts_pipeline.plan_catalog` and `publish_plan` raise.
        """
        from incarts_pipeline.pipeline import plan_catalog
        from incarts_pipeline.sync import run_blocking
        from incarts_pipeline.workers import publish_plan

        settings = self.settings()
        with plan_catalog(request, settings) as plan:
            return run_blocking(lambda _: publish_plan(plan, settings, output))
