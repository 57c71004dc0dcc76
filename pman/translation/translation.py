"""The pure part of an engine: request -> Job -> documents, native state -> JobInfo. Needs no connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pman import schema
from pman.errors import BadRequest, ConfigError, EngineUnreachable, Fault
from pman.job import Document, Job, JobDetails, JobInfo
from pman.settings import KNOWN_ENGINES, Settings, engine_schema
from pman.translation import rules, taint
from pman.translation.fields import FieldReader, without_fields
from pman.translation.masking import Masking
from pman.translation.overrides import lost_folders
from pman.translation.policy import Policy
from pman.translation.render import Rendering, Templates, loader
from pman.translation.request import RequestParser
from pman.translation.rules import NativeState
from pman.translation.variables import job_variables, site_variables, unread_fields, unread_settings

PROBE = Job(
    jid="pman-probe",
    image="localhost/pman/probe:1",
    entrypoint=("probe",),
    args=("--flag", "value"),
    env=("NAME=value",),
    auid="pman",
    number_of_workers=2,
    cpu_limit=1000,
    memory_limit=100,
    gpu_limit=1,
    input_dir="probe/incoming",
    output_dir="probe/outgoing",
)
"""A job that asks for everything: what the templates read of it is what they honour."""

ASSUMED_FACTS: Mapping[str, Any] = {"storebase": "/storebase"}
"""Stands for what an engine tells, where none is asked."""


class Translation:
    """Holds all templates, rules and schemas of one engine, compiled.

    Raises ConfigError for a template, rule or policy that cannot work, and for a setting that the
    templates do not honour.
    """

    def __init__(self, settings: Settings) -> None:
        search = loader(*(_checked(directory, settings.engine) for directory in settings["PMAN_TEMPLATES"]))
        self.settings = settings
        self.rules = rules.compiled(settings.engine, search)
        self.rules.check_complete()
        self._details = FieldReader(self.rules)
        self._templates = Templates(settings.engine, search)
        self._parser = RequestParser(engine_schema(settings.engine, "request"))
        policy = settings["PMAN_POLICY"]
        self._policy = Policy(Path(policy), settings.engine) if policy else None
        self.read_by_templates = self._probe(self.assumed_facts()).read
        """The variables that the templates use for a job that asks for everything."""

        self.needs_storebase = "site.storebase" in self.read_by_templates
        """True where the documents name its path, which only the engine may know."""

        if faults := unread_settings(settings, self.read_by_templates):
            raise ConfigError.of(faults)

    def _probe(self, facts: Mapping[str, Any]) -> Rendering:
        return self._templates.render(
            job_variables(PROBE, self.settings), site_variables(self.settings, facts)
        )

    def assumed_facts(self) -> Mapping[str, Any]:
        """Stands for the engine's facts where it is not asked."""
        return {**ASSUMED_FACTS, **({"storebase": path} if (path := self.settings["STOREBASE"]) else {})}

    def parse(self, body: bytes | str) -> Job:
        """Raises BadRequest with every error at once."""
        return self._parser.parse(body)

    def render(self, job: Job, facts: Mapping[str, Any]) -> tuple[Document, ...]:
        """Makes what is submitted, to the letter. Raises BadRequest for what templates or policy refuse."""
        variables = job_variables(job, self.settings)
        rendering = self._templates.render(variables, site_variables(self.settings, facts))
        self._allow(job, variables, rendering)
        return rendering.documents

    def show(self, job: Job, facts: Mapping[str, Any]) -> tuple[Document, ...]:
        """Makes the same documents with the values of the environment masked, which carry a user's token.

        Raises the same errors, without a value in them; ConfigError also for what cannot be masked for sure.
        """
        variables = job_variables(job, self.settings)
        masked = {**variables, "env": list(map(taint.variable, variables["env"]))}
        dry_run = self._templates.show(masked, site_variables(self.settings, facts))
        self._allow(job, variables, dry_run)
        return dry_run.shown

    def _allow(self, job: Job, variables: Mapping[str, Any], rendering: Rendering) -> None:
        """Raises BadRequest for fields that the templates do not read, and for what the policy forbids."""
        if faults := unread_fields(variables, rendering.read):
            raise BadRequest.of(faults)
        if self._policy:
            self._policy.check(job, variables, rendering.documents)

    def details(self, jid: str, native: NativeState, facts: Mapping[str, Any]) -> JobDetails:
        """Answers API v2 for a job in this state. Raises as Rules.read; ConfigError for a field, too."""
        return self._detailed(self.rules.read(jid, native), native, facts)

    def listed(self, jid: str, native: NativeState, facts: Mapping[str, Any]) -> JobDetails:
        """Answers the same in a list of jobs, where the message says what is wrong with this one.

        A job that the rules cannot tell of is `started`, as one in an unknown state: it may be doing well.
        """
        try:
            info = self.rules.read(jid, native)
        except (EngineUnreachable, ConfigError) as error:
            info = JobInfo(jid=jid, status="started", message=str(error), hint=error.hint)
        try:
            return self._detailed(info, native, facts)
        except ConfigError as error:  # so what to mask is not known either
            return without_fields(replace(info, cmd="", message=str(error), hint=error.hint))

    def _detailed(self, info: JobInfo, native: NativeState, facts: Mapping[str, Any]) -> JobDetails:
        return self._details.read(info, native, site_variables(self.settings, facts))

    def masking(self, native: NativeState, facts: Mapping[str, Any]) -> Masking:
        """Makes what hides the values of the job's environment."""
        return self._details.masking(native, site_variables(self.settings, facts))

    def applied(
        self, native: NativeState, held: Mapping[str, str], facts: Mapping[str, Any]
    ) -> tuple[Document, ...]:
        """The documents as the engine holds them, the values of the environment masked."""
        return tuple(self._details.applied(native, held, self.masking(native, facts)))

    def check(self, facts: Mapping[str, Any]) -> None:
        """Raises ConfigError when the engine, by what it says of itself, cannot honour what is configured."""
        self.rules.check(facts.get("native", {}), site_variables(self.settings, facts))
        taken = facts.get("documents", {})
        faults = [
            Fault(fault.path, f"templates: {document.name}, {fault.path.removeprefix('$.')}: {fault.message}")
            for document in (self._probe(facts).documents if taken else ())
            for fault in schema.faults(schema.validator(taken.get(document.name, {})), document.content)
        ]
        if faults:
            raise ConfigError.of(faults)


def _checked(directory: str, engine: str) -> Path:
    """Raises ConfigError for a directory of PMAN_TEMPLATES that overrides nothing."""
    site = Path(directory)
    if not site.is_dir():
        raise ConfigError(f"PMAN_TEMPLATES={directory!r}: no such directory")
    engines = sorted({engine, *KNOWN_ENGINES})
    for mistake in lost_folders(site, engines):
        raise ConfigError(f"PMAN_TEMPLATES={directory!r}: {mistake.message}; {mistake.hint}")
    return site
