"""Which Incarts: host, project and ledger come from the environment, as does the key."""

import dagster as dg

from incarts_pipeline.dagster import IncartsResource


@dg.definitions
def resources() -> dg.Definitions:
    """Return the resource; only the variable's name is part of the definitions, never the key."""
    incarts = IncartsResource(api_key=dg.EnvVar("INCARTS_API_KEY"))
    return dg.Definitions(resources={"incarts": incarts})
