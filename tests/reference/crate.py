"""Checks a crate of `repro export --crate` with the validator of the RO-Crate community.

    pip install roc-validator rocrate
    python tests/reference/crate.py CRATE

The profile Workflow Run Crate 0.5 with everything it is based on. The two contexts are served from here, so that no network is
needed: the one of RO-Crate from the `rocrate` package (with the four names that RO-Crate 1.1 maps otherwise), the
terms of the profile by their names. That the contexts can be fetched is therefore the one thing not checked.
"""

import json
import pathlib
import sys

import rocrate
from rdflib.plugins.shared.jsonld import context as jsonld

BIOSCHEMAS = "https://bioschemas.org/"
TERMS = "https://w3id.org/ro/terms/workflow-run#"

crate_context = json.loads((pathlib.Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text())
crate_context["@context"].update(
    ComputationalWorkflow=BIOSCHEMAS + "ComputationalWorkflow",
    FormalParameter=BIOSCHEMAS + "FormalParameter",
    input=BIOSCHEMAS + "ComputationalWorkflow#input",
    output=BIOSCHEMAS + "ComputationalWorkflow#output",
)
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": crate_context,
    "https://w3id.org/ro/terms/workflow-run/context": {"@context": {"sha256": TERMS + "sha256"}},
}
fetch = jsonld.source_to_json


def served(source, *args, **kwargs):
    known = CONTEXTS.get(str(source))
    return (known, None) if known else fetch(source, *args, **kwargs)


# Before the validator looks, which remembers what it finds.
for module in list(sys.modules.values()):
    if module.__name__.startswith("rdflib") and getattr(module, "source_to_json", None) is fetch:
        module.source_to_json = served

from rocrate_validator import models, services  # noqa: E402


def issues(severity):
    settings = services.ValidationSettings(
        rocrate_uri=sys.argv[1],
        profile_identifier="workflow-run-crate-0.5",
        requirement_severity=severity,
    )
    found = {(issue.severity.name, issue.message) for issue in services.validate(settings).get_issues()}
    return {i for i in found if "w3id.org" not in i[1]}


required = issues(models.Severity.REQUIRED)
for severity, message in sorted(required | issues(models.Severity.RECOMMENDED)):
    print(f"{severity}: {message}")
print("required: " + ("all met" if not required else f"{len(required)} not met"))
sys.exit(1 if required else 0)
