"""The samples: what every engine takes, made of the examples in schema/, under names that stay."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from pman import settings
from pman.settings import DECLARED, written
from pman.translation.render import Templates, loader
from pman.translation.request import PROPERTIES, RequestParser
from pman.translation.variables import honours
from pman.workshop.lint.documents import missed
from pman.workshop.samples import Sample, pairs, samples
from tests.a_job import ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_every_sample_is_one_that_its_engine_takes(engine: str) -> None:
    parser = RequestParser(settings.engine_schema(engine, "request"))
    for sample in (*samples(engine), *islice(pairs(engine, Templates(engine, loader()).words), 20)):
        job, site = sample.variables()

        assert parser.parse(sample.body) == sample.job  # raises for a request that is refused
        assert settings.load(_environ(sample), [engine]) == sample.settings  # and for such settings
        assert site["container_env"] == engine
        assert job["jid"] == sample.request["jid"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_name_stands_for_one_sample_and_is_good_for_a_file(engine: str) -> None:
    names = [sample.name for sample in samples(engine)]

    assert len(set(names)) == len(names)
    assert names[0] == "plain"
    assert "everything" in names
    assert all(re.fullmatch(r"[\w-]+", name) for name in names), names


@pytest.mark.parametrize("engine", ENGINES)
def test_all_that_an_engine_honours_is_asked_for_in_some_sample(engine: str) -> None:
    templates = Templates(engine, loader())
    read = frozenset[str]().union(*(templates.render(*sample.variables()).read for sample in samples(engine)))
    asked = {name for sample in samples(engine) for name in _asked(sample)}
    fields = {name for name, declared in PROPERTIES.items() if not read.isdisjoint(declared["x-reaches"])}
    variables = {
        name
        for name, declared in DECLARED.items()
        if any(where.startswith(("job.", "site.")) for where in declared["x-reaches"])
        and any(example != declared.get("default") for example in declared["examples"])
    }
    honoured = {name for name in variables if honours(engine, DECLARED[name], read)}

    refused = {"gpu_limit", "number_of_workers"} - _asked_of(engine)  # by what the engine's schema narrows
    assert (fields | honoured) - refused <= asked


def _environ(sample: Sample) -> dict[str, str]:
    """The settings that are not left as they are, as the environment has them."""
    sources, values = sample.settings.sources, sample.settings
    return {name: written(name, values[name]) for name, source in sources.items() if source == "environment"}


def _asked(sample: Sample) -> set[str]:
    plain = samples(sample.settings.engine)[0].request
    changed = {name for name, value in sample.request.items() if plain.get(name) != value}
    return changed | _environ(sample).keys() | {"jid", "entrypoint", "input_dir", "output_dir"}


def _asked_of(engine: str) -> set[str]:
    return {name for sample in samples(engine) for name in _asked(sample)}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_samples_and_pairs_of_options_reach_every_branch_of_what_is_shipped(engine: str) -> None:
    templates = Templates(engine, loader())

    for sample in samples(engine):
        templates.traced(*sample.variables())
    for sample in pairs(engine, templates.words):
        if not missed(templates.notes):
            break
        templates.traced(*sample.variables())

    assert missed(templates.notes) == []
