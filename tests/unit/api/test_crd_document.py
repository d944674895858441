"""The definition as the API server and kubectl read it."""

import re
from pathlib import Path
from typing import Any

import pytest

from slaplanner.api.crd import custom_resource_definition
from slaplanner.api.fields import Part
from slaplanner.api.generate import derived_files, main
from slaplanner.api.schema import spec_schema, status_schema
from slaplanner.api.spec import Spec
from slaplanner.api.structural import structural_schema
from tests.policy_corpus import fields

ROOT = Path(__file__).parents[3]

SPEC = dict(fields(spec_schema()))
CORE_CEL = {
    "has",
    "all",
    "exists",
    "exists_one",
    "filter",
    "map",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
}


@pytest.mark.parametrize("name", derived_files())
def test_what_is_derived_from_the_models_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == derived_files()[name]


def test_the_check_names_what_is_out_of_date_and_the_writer_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert "crds/slaplanner.io_slapolicies.yaml is out of date" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0


def test_the_printer_columns_are_those_that_users_look_for() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]
    shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]

    assert shown == [
        *("Ready", "Mode", "TTFT(ms)", "ITL(ms)", "Prefill", "Decode", "GPUs", "Attained", "Why", "Age"),
    ]


def test_printer_columns_point_at_fields_that_exist() -> None:
    known = {f".status.{path}" for path, _ in fields(status_schema())} | {f".spec.{path}" for path in SPEC}
    (version,) = custom_resource_definition()["spec"]["versions"]
    paths = [re.sub(r"\[\?.*\]", "[]", column["jsonPath"]) for column in version["additionalPrinterColumns"]]

    assert [path for path in paths if path not in known | {".metadata.creationTimestamp"}] == []


def test_status_is_a_subresource() -> None:
    (version,) = custom_resource_definition()["spec"]["versions"]

    assert version["subresources"] == {"status": {}}


@pytest.mark.parametrize(("path", "schema"), [*SPEC.items(), *fields(status_schema())], ids=str)
def test_every_field_is_explained(path: str, schema: dict[str, Any]) -> None:
    assert len(schema["description"]) > 5, path


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("sla.ttft", "in milliseconds"),
        ("sla.itl", "in milliseconds"),
        ("sla.isl", "in tokens"),
        ("sla.osl", "in tokens"),
        ("sla.attainment", "in percent"),
        ("gpuBudget.max", "GPUs"),
        ("metrics.windowSeconds", "in seconds"),
        ("planning.intervalSeconds", "Seconds"),
        ("planning.startupSeconds", "Seconds"),
        ("behavior.scaleUp.stabilizationWindowSeconds", "Seconds"),
    ],
)
def test_a_description_says_the_unit(path: str, unit: str) -> None:
    assert unit in SPEC[path]["description"]


def test_every_parent_with_defaults_below_it_has_one_itself() -> None:
    def has_defaults(schema: dict[str, Any]) -> bool:
        return any(
            "default" in child or has_defaults(child) for child in schema.get("properties", {}).values()
        )

    missing = [path for path, schema in SPEC.items() if has_defaults(schema) and schema.get("default") != {}]

    assert missing == []


def test_nothing_below_a_defaulted_parent_is_required_and_no_rule_sits_there() -> None:
    defaulted = [(path, schema) for path, schema in SPEC.items() if schema.get("default") == {}]

    assert [path for path, schema in defaulted if "required" in schema] == []
    assert [path for path, schema in defaulted if "x-kubernetes-validations" in schema] == []


@pytest.mark.parametrize("path", ["planning.sizing", "metrics.windowSeconds", "planning.startupSeconds"])
def test_what_the_code_resolves_is_not_stored_as_a_default(path: str) -> None:
    assert "default" not in SPEC[path]


def test_transition_rules_sit_where_the_value_is_always_there() -> None:
    carriers = [
        path
        for path, schema in SPEC.items()
        if any("oldSelf" in rule["rule"] for rule in schema.get("x-kubernetes-validations", ()))
    ]

    assert carriers == []
    assert any("oldSelf" in rule["rule"] for rule in spec_schema()["x-kubernetes-validations"])


def test_rules_call_core_cel_only() -> None:
    schemas = [
        spec_schema(),
        *SPEC.values(),
        *(schema["items"] for schema in SPEC.values() if "items" in schema),
    ]
    rules = [rule["rule"] for schema in schemas for rule in schema.get("x-kubernetes-validations", ())]

    called = {name for rule in rules for name in re.findall(r"(\w+)\(", rule)}

    assert rules
    assert called <= CORE_CEL


def test_the_blamed_field_of_a_rule_exists() -> None:
    for prefix, schema in (
        ("", spec_schema()),
        *((f"{path}[]", s["items"]) for path, s in SPEC.items() if "items" in s),
    ):
        for rule in schema.get("x-kubernetes-validations", ()):
            if "fieldPath" in rule:
                assert f"{prefix}{rule['fieldPath']}".lstrip(".") in SPEC


def test_a_schema_is_made_of_values_of_its_own() -> None:
    assert structural_schema(Spec) == structural_schema(Spec)
    assert structural_schema(Spec) is not structural_schema(Spec)


def test_a_fractional_bound_becomes_a_rule() -> None:
    attainment = SPEC["sla.attainment"]

    assert "maximum" not in attainment
    assert attainment["x-kubernetes-validations"] == [
        {"rule": "self <= 99.9", "message": "must be at most 99.9"}
    ]


def test_optional_means_absent_and_never_null() -> None:
    assert "nullable" not in str(custom_resource_definition())
    assert "anyOf" not in str(custom_resource_definition())


def test_models_are_immutable_and_closed() -> None:
    assert Part.model_config["frozen"] is True
    assert Part.model_config["extra"] == "forbid"
