"""What Kubernetes gets: documents, the manifests of pman itself, and what is refused by name before."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pman.errors import BadRequest, ConfigError
from pman.executors.kubernetes.permissions import CLAIM as SEE_CLAIM
from pman.executors.kubernetes.permissions import NEEDED
from pman.settings import DECLARED
from pman.translation.translation import PROBE, Translation
from tests import engines
from tests.a_job import a_body, a_job, a_translation, site_templates
from tests.engines import Engine
from tests.engines.cluster import Namespace
from tests.live import live

HERE = Path(__file__).parents[1]
DEPLOY = HERE.parent / "deploy/kubernetes"
SECTION = (HERE.parent / "docs/engines.md").read_text().split("\n## Kubernetes\n")[1].split("\n## ")[0]
FENCES = re.findall(r"```yaml\+jinja\n(.*?)```", SECTION, re.DOTALL)

VERSIONS = ["1.25", "1.28", "1.31", "1.34", "1.37"]
"""Whose API schemas a document must satisfy to the letter, from the oldest to the newest of the package's."""

CLAIM = {"STORAGE_TYPE": "kubernetes_pvc", "STOREBASE": "", "VOLUME_NAME": "storebase"}
SITE = {
    **CLAIM,
    "CONTAINER_USER": "1001:1002",
    "ENABLE_HOME_WORKAROUND": "yes",
    "SHM_SIZE": "64",
    "JOB_LABELS": "org.chrisproject.miniChRIS=plugininstance",
}
FULL = {
    **SITE,
    "JOB_NAMESPACE": "chris",
    "NODE_SELECTOR": "kubernetes.io/arch=amd64",
    "IMAGE_PULL_SECRETS": "registry,another",
    "TIMELIMIT_MINUTES": "90",
}

PATHS = {
    "Job": "/apis/batch/v1/{}/jobs",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/{}/networkpolicies",
    "ServiceAccount": "/api/v1/{}/serviceaccounts",
    "Service": "/api/v1/{}/services",
    "Role": "/apis/rbac.authorization.k8s.io/v1/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/{}/rolebindings",
    "Deployment": "/apis/apps/v1/{}/deployments",
}

GOLDEN: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "ds-simpledsapp": ("ds-simpledsapp", SITE),
    "ds-gpu-lungct": ("ds-gpu-lungct", FULL),
    "ds-shell-metacharacters": ("ds-shell-metacharacters", SITE),
    "ds-path-flags-on-the-host": ("ds-path-flags", {}),
    "fs-dircopy-as-the-images-user": ("fs-dircopy", CLAIM),
}
"""Which request, with which configuration."""


def facts(environ: Mapping[str, str]) -> Mapping[str, Any]:
    return {"storebase": environ.get("STOREBASE", "/srv/storebase")}


def content(job: Any = None, **environ: str) -> Any:
    """The Job, as the API server reads it."""
    (document,) = a_translation("kubernetes", **environ).render(job or a_job(), facts(environ))
    return json.loads(json.dumps(document.content))


def pod(job: Any = None, **environ: str) -> Any:
    return content(job, **environ)["spec"]["template"]["spec"]


def plugin(job: Any = None, **environ: str) -> Any:
    (found,) = pod(job, **environ)["containers"]
    return found


@pytest.fixture(scope="module")
def cluster() -> Engine:
    return engines.need("kubernetes")


@pytest.fixture(scope="module")
def namespace(cluster: Engine) -> Namespace:
    assert cluster.namespace
    return cluster.namespace


# --- golden documents ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_a_realistic_request_becomes_the_golden_document(name: str, request: pytest.FixtureRequest) -> None:
    source, environ = GOLDEN[name]
    golden = HERE / f"golden/kubernetes/{name}.yaml"
    translation = a_translation("kubernetes", **environ)
    body = (HERE / f"requests/{source}.json").read_bytes()

    (document,) = translation.render(translation.parse(body), facts(environ))

    if request.config.getoption("--update-golden", default=False):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(document.text, "utf-8")
    assert document.text == golden.read_text("utf-8")


def test_no_golden_document_is_left_over() -> None:
    assert {file.stem for file in (HERE / "golden/kubernetes").iterdir()} == set(GOLDEN)


# --- the schemas of the API, and a real API server -------------------------------------------------


EXTREMES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, str]]] = {
    "full": ({"env": ("A=b",), "gpu_limit": 2, "number_of_workers": 3}, FULL),
    "bare": ({"cpu_limit": 0, "memory_limit": 0}, {}),
    "group": ({}, {**CLAIM, "CONTAINER_USER": ":5"}),
}
"""Everything that the template can say, and next to nothing."""


def document(name: str) -> Any:
    if name in GOLDEN:
        return yaml.safe_load((HERE / f"golden/kubernetes/{name}.yaml").read_text())
    changes, environ = EXTREMES[name]
    return content(a_job(**changes), **environ)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*GOLDEN, *EXTREMES])
def test_a_document_satisfies_the_schema_of_the_api(version: str, name: str) -> None:
    kubernetes_validate.validate(document(name), version, strict=True)


def dry_run(namespace: Namespace, found: Any) -> Any:
    """What a real API server would make of it. Raises ClusterError for what it does not take."""
    metadata = {**found["metadata"], "namespace": namespace.name}
    path = PATHS[found["kind"]].format(f"namespaces/{namespace.name}")
    return namespace.cluster.call("POST", path, {**found, "metadata": metadata}, dryRun="All")


@pytest.mark.parametrize("name", [*GOLDEN, *EXTREMES])
def test_a_real_api_server_takes_a_document_as_it_is(namespace: Namespace, name: str) -> None:
    asked = document(name)

    made = dry_run(namespace, asked)

    (found,) = made["spec"]["template"]["spec"]["containers"]
    (plugin,) = asked["spec"]["template"]["spec"]["containers"]
    for field in ("command", "args", "env"):
        assert found.get(field) == plugin[field]


# --- what the kubelet makes of it ------------------------------------------------------------------


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Port of Expand (Kubernetes, third_party/forked/golang/expansion/expand.go), which works on bytes."""
    given, out, position = text.encode(), b"", 0
    while position < len(given):
        here = given[position : position + 1]
        if here != b"$" or position + 1 == len(given):
            out += here
            position += 1
        elif given[position + 1 : position + 2] == b"$":
            out += b"$"
            position += 2
        elif given[position + 1 : position + 2] == b"(":
            end = given.find(b")", position + 2)
            if end < 0:
                out += b"$("
                position += 2
            else:
                name = given[position + 2 : end].decode()
                out += variables.get(name, f"$({name})").encode()  # as written, where there is none
                position = end + 1
        else:  # a byte becomes a rune of its own: `$ü` would arrive broken
            out += b"$" + chr(given[position + 1]).encode()
            position += 2
    return out.decode(errors="replace")


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("$(A) $(B)", "value $(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$value"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
        ("$ü", "$Ã\ufffd"),
        ("$$$$", "$$"),
    ],
)
def test_the_port_expands_as_kubernetes_does(text: str, becomes: str) -> None:
    assert expanded(text, {"A": "value"}) == becomes


dollars = st.text(st.sampled_from(list("$()Aü \n\"'")), max_size=12)
texts = st.one_of(dollars, st.text(st.characters(exclude_characters="\0", codec="utf-8")))


@given(st.lists(texts, max_size=4), st.lists(texts, min_size=1, max_size=3), texts)
@hypothesis_settings(max_examples=150, deadline=None)
def test_command_arguments_and_environment_arrive_as_the_texts_they_were(
    args: list[str], entrypoint: list[str], value: str
) -> None:
    job = a_job(args=tuple(args), entrypoint=tuple(entrypoint), env=(f"A={value}", "B=c"))

    found = plugin(job)

    variables = {"A": value, "B": "c"}
    assert [expanded(word, variables) for word in found["command"]] == entrypoint
    assert [expanded(word, variables) for word in found["args"]] == args
    reached = {each["name"]: expanded(each["value"], variables) for each in found["env"]}
    assert reached == variables


def test_dollars_arrive_in_a_real_pod_as_they_were(cluster: Engine, storebase: Path) -> None:
    words = ["$$", "$(VAR)", "$$(VAR)", "$ü", "$(", "a$", "$VAR", "${VAR}", "$$$$(VAR)$$"]
    with live(cluster, storebase) as running:
        text = 'for a; do printf "%s\\0" "$a"; done > $out/words; printf "%s" "$VAR" >> $out/words'
        request = running.script(text, args=words, env=["VAR=$(HOME)$$"])

        answer = running.run(request)

        assert answer["status"] == "finishedSuccessfully", answer
        reached = running.output(request, "words").read_bytes().decode().split("\0")
        assert reached[: len(words)] == words
        assert reached[-1] == "$(HOME)$$"
        assert "'$$(VAR)'" in answer["cmd"]


# --- structure -------------------------------------------------------------------------------------


def shape(value: object) -> object:
    """What is left of a document without its texts."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


yamls = st.sampled_from(["a: b", "- a", "{{ x }}", "#", "&a", "*labels", "---\na: b", "\u2028", "'"])
hostile = st.one_of(texts, yamls)


@given(argument=hostile, value=hostile, auid=hostile, directory=hostile, image=hostile)
@hypothesis_settings(max_examples=150, deadline=None)
def test_no_value_of_a_job_changes_the_structure_of_its_document(
    argument: str, value: str, auid: str, directory: str, image: str
) -> None:
    job = a_job(
        args=(argument,),
        env=(f"A={value}",),
        auid=auid,
        image=image,
        input_dir=directory,
        output_dir=directory,
    )

    found, tame = content(job, **SITE), content(a_job(args=("a",), env=("A=b",)), **SITE)

    for document in (found, tame):
        for metadata in (document["metadata"], document["spec"]["template"]["metadata"]):
            metadata["labels"].pop("org.chrisproject.pman.auid", None)
    assert shape(found) == shape(tame)
    assert found["metadata"]["annotations"]["org.chrisproject.pman.auid"] == auid
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert [mount.get("subPath") for mount in container["volumeMounts"]] == [directory, directory, None]


# --- each part -------------------------------------------------------------------------------------


def test_a_job_has_a_pod_for_each_worker_and_none_is_tried_twice() -> None:
    found = content(a_job(number_of_workers=3))["spec"]

    assert (found["parallelism"], found["completions"], found["backoffLimit"]) == (3, 3, 0)
    assert found["template"]["spec"]["restartPolicy"] == "Never"


def test_everything_that_a_job_can_ask_for_is_honoured() -> None:
    assert a_translation("kubernetes", **FULL).render(PROBE, facts(FULL))


def test_the_time_limit_is_the_pods_so_that_its_log_remains_and_waiting_does_not_count() -> None:
    limited, unlimited = content(TIMELIMIT_MINUTES="90")["spec"], content()["spec"]

    assert limited["template"]["spec"]["activeDeadlineSeconds"] == 90 * 60
    assert limited["activeDeadlineSeconds"] == 90 * 60 + 7 * 86_400
    assert "activeDeadlineSeconds" not in unlimited["template"]["spec"]
    assert unlimited["activeDeadlineSeconds"] == 7 * 86_400


def test_a_finished_job_stays_for_a_week_or_as_the_site_wants() -> None:
    assert content()["spec"]["ttlSecondsAfterFinished"] == 7 * 86_400
    assert content(JOB_TTL_SECONDS="60")["spec"]["ttlSecondsAfterFinished"] == 60


def test_limits_are_requests_and_have_units() -> None:
    found = plugin(a_job(cpu_limit=1500, memory_limit=200, gpu_limit=2))["resources"]

    assert found["limits"] == {"cpu": "1500m", "memory": "200Mi", "nvidia.com/gpu": 2}
    assert found["requests"] == found["limits"]


def test_without_limits_there_are_none() -> None:
    for found in (plugin(a_job(cpu_limit=0, memory_limit=0)), plugin(a_job(), IGNORE_LIMITS="yes")):
        assert found["resources"] == {"limits": None, "requests": None}


ROOT = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"]


@pytest.mark.parametrize(
    ("user", "context", "added"),
    [
        ("1001:1002", {"runAsUser": 1001, "runAsGroup": 1002, "runAsNonRoot": True}, None),
        ("1001:", {"runAsUser": 1001, "runAsNonRoot": True}, None),
        ("0:0", {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False}, ROOT),
        (":1002", {"supplementalGroups": [1002]}, ROOT),
        ("", {}, ROOT),
    ],
)
def test_the_user_is_the_sites_and_only_what_may_be_root_has_capabilities(
    user: str, context: Mapping[str, Any], added: list[str] | None
) -> None:
    found = pod(CONTAINER_USER=user)

    assert found["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, **context}
    capabilities = found["containers"][0]["securityContext"]["capabilities"]
    assert capabilities == {"drop": ["ALL"], **({"add": added} if added else {})}


def test_with_a_user_and_a_claim_a_pod_is_within_the_restricted_pod_security_standard() -> None:
    """By https://kubernetes.io/docs/concepts/security/pod-security-standards/, Restricted."""
    found = pod(**FULL)
    (container,) = found["containers"]

    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["runAsUser"] > 0
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    sources = {key for volume in found["volumes"] for key in volume} - {"name"}
    assert sources <= {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
                       "projected", "secret"}  # fmt: skip
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(found)


def test_a_job_gets_no_token_of_the_api_server_and_no_addresses_of_services() -> None:
    assert (pod()["automountServiceAccountToken"], pod()["enableServiceLinks"]) == (False, False)


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        (CLAIM, {"persistentVolumeClaim": {"claimName": "storebase"}}),
        ({}, {"hostPath": {"path": "/srv/storebase", "type": "Directory"}}),
        ({"STOREBASE": "/"}, {"hostPath": {"path": "/", "type": "Directory"}}),
    ],
)
def test_directories_are_mounted_by_sub_paths_of_the_storebase_and_the_input_read_only(
    settings: dict[str, str], source: Mapping[str, Any]
) -> None:
    found = pod(a_job(input_dir="a/in", output_dir="b:c/out"), **settings)

    assert found["volumes"] == [{"name": "storebase", **source}]
    assert found["containers"][0]["volumeMounts"] == [
        {"name": "storebase", "subPath": "a/in", "mountPath": "/share/incoming", "readOnly": True},
        {"name": "storebase", "subPath": "b:c/out", "mountPath": "/share/outgoing"},
    ]  # fmt: skip


def test_shared_memory_is_a_volume_of_its_size() -> None:
    found = pod(SHM_SIZE="64")

    assert found["volumes"][-1] == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}
    assert found["containers"][0]["volumeMounts"][-1] == {"name": "shm", "mountPath": "/dev/shm"}


def test_nodes_and_secrets_are_the_sites() -> None:
    found = pod(NODE_SELECTOR="disk=ssd,a.b/c=", IMAGE_PULL_SECRETS="a,b")

    assert found["nodeSelector"] == {"disk": "ssd", "a.b/c": ""}
    assert found["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert not {"nodeSelector", "imagePullSecrets"} & set(pod())


def test_labels_and_annotations_are_on_the_job_and_on_its_pods() -> None:
    found = content(JOB_LABELS="a=b", START_GRACE_SECONDS="30")

    metadata = found["metadata"]
    assert metadata["labels"] == {
        "a": "b",
        "org.chrisproject.pman.jid": "chris-jid-42",
        "org.chrisproject.pman.auid": "rudolph",
    }
    assert metadata["annotations"] == {
        "org.chrisproject.pman.auid": "rudolph",
        "org.chrisproject.pman.digest": a_job().digest,
        "org.chrisproject.pman.start-grace-seconds": "30",
        "kubectl.kubernetes.io/default-container": "plugin",
    }
    assert found["spec"]["template"]["metadata"] == {
        "labels": metadata["labels"],
        "annotations": metadata["annotations"],
    }


LABEL = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")


@given(
    st.one_of(st.text(max_size=70), st.from_regex(LABEL, fullmatch=True), st.text("aZ0-_.é²", max_size=66))
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_the_user_is_a_label_where_it_can_be_one_and_always_an_annotation(auid: str) -> None:
    metadata = content(a_job(auid=auid))["metadata"]

    assert ("org.chrisproject.pman.auid" in metadata["labels"]) is bool(LABEL.fullmatch(auid))
    assert metadata["labels"].get("org.chrisproject.pman.auid", auid) == auid
    assert metadata["annotations"]["org.chrisproject.pman.auid"] == auid


# --- what is refused by name -----------------------------------------------------------------------


def refused(**changes: Any) -> list[tuple[str, str]]:
    try:
        a_translation("kubernetes").parse(a_body(**changes))
    except BadRequest as error:
        return [(fault.path, fault.message) for fault in error.faults]
    return []


@pytest.mark.parametrize(
    "jid", ["Chris-jid-1", "a_b", "ab-", "a" * 64, "a..b", "a.-b", "a-.b", "ab."]
)  # fmt: skip
def test_a_name_that_no_job_of_kubernetes_can_have_is_refused(jid: str) -> None:
    ((path, told),) = {fault[0]: fault for fault in refused(jid=jid)}.values()

    assert path == "$.jid"
    assert "name of a Kubernetes Job" in told


@pytest.mark.parametrize("jid", ["chris-jid-1", "0a", "a.b-c.d", "a" * 63])
def test_any_other_name_is_taken(namespace: Namespace, jid: str) -> None:
    assert not refused(jid=jid)
    assert dry_run(namespace, content(a_job(jid=jid)))


@pytest.mark.parametrize("name", ["1A", "a b", "ü", "..", ".", "..a", "A,B", "A\n"])
def test_a_variable_whose_name_kubernetes_does_not_take_is_refused_without_its_value(name: str) -> None:
    ((path, told),) = refused(env=["A=b", f"{name}=a hidden value"])

    assert path == "$.env[1]"
    assert "NAME is one that Kubernetes takes" in told
    assert "hidden" not in told


@pytest.mark.parametrize("name", ["A", "_", "a.b-c", ".a", "-", "a1"])
def test_any_other_variable_is_taken(namespace: Namespace, name: str) -> None:
    assert not refused(env=[f"{name}=b"])
    assert dry_run(namespace, content(a_job(env=(f"{name}=b",))))


@pytest.mark.parametrize(("limit", "taken"), [(0, True), (5, False), (6, True)])
def test_a_memory_limit_with_which_nothing_starts_is_refused(limit: int, taken: bool) -> None:
    assert bool(refused(memory_limit=limit)) is not taken


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("JOB_LABELS", "a b=c", "the name of a label"),
        ("JOB_LABELS", "a/b/c=d", "the name of a label"),
        ("JOB_LABELS", f"{'a' * 64}=b", "the name of a label"),
        ("JOB_LABELS", "A.b/c=d", "the name of a label"),
        ("JOB_LABELS", "a=b c", "the value of a label"),
        ("JOB_LABELS", f"a={'b' * 64}", "the value of a label"),
        ("JOB_LABELS", "a=-b", "the value of a label"),
        ("JOB_LABELS", "job-name=a", "Kubernetes itself labels"),
        ("JOB_LABELS", "batch.kubernetes.io/job-name=a", "Kubernetes itself labels"),
        ("JOB_LABELS", "org.chrisproject.pman.jid=a", "pman's own"),
        ("NODE_SELECTOR", "a b=c", "the name of a label"),
        ("NODE_SELECTOR", "a=b/c", "the value of a label"),
        ("IMAGE_PULL_SECRETS", "A", "a name of Kubernetes"),
        ("JOB_NAMESPACE", "a.b", "the name of a namespace"),
        ("JOB_NAMESPACE", "a" * 64, "the name of a namespace"),
        ("STORAGE_TYPE", "docker_local_volume", "use kubernetes_pvc, host"),
    ],
)
def test_a_setting_that_kubernetes_cannot_take_stops_the_start_by_name(
    name: str, value: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{name}=.*{told}"):
        a_translation("kubernetes", **{name: value})


def test_a_claim_is_the_default_storage_and_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="VOLUME_NAME"):
        a_translation("kubernetes", STORAGE_TYPE="", STOREBASE="")
    with pytest.raises(ConfigError, match=r"^VOLUME_NAME='A_B': a name of Kubernetes"):
        a_translation("kubernetes", **{**CLAIM, "VOLUME_NAME": "A_B"})
    assert pod(STORAGE_TYPE="", STOREBASE="", VOLUME_NAME="a")["volumes"][0]["persistentVolumeClaim"]


# --- what a site adds ------------------------------------------------------------------------------


def of_site(directory: Path, fence: str) -> Translation:
    extends = "builtin/kubernetes/job.yaml.j2" in fence
    files = {f"kubernetes/{'job' if extends else 'network'}.yaml.j2": fence}
    return a_translation("kubernetes", PMAN_TEMPLATES=str(site_templates(directory, files)), **FULL)


@pytest.mark.parametrize("fence", FENCES)
def test_every_example_of_the_documentation_makes_documents_that_kubernetes_takes(
    fence: str, tmp_path: Path, namespace: Namespace
) -> None:
    translation = of_site(tmp_path, fence)

    documents: list[Any] = [document.content for document in translation.render(a_job(), facts(FULL))]

    assert documents != [content(**FULL)]
    for found in documents:
        kubernetes_validate.validate(found, VERSIONS[-1], strict=True)
        found.get("spec", {}).get("template", {}).get("spec", {}).pop("priorityClassName", None)  # none there
        assert dry_run(namespace, found)


# --- pman in the cluster ---------------------------------------------------------------------------

MANIFESTS = {file.stem: yaml.safe_load(file.read_text()) for file in sorted(DEPLOY.glob("*.yaml"))}


@pytest.mark.parametrize("name", sorted(set(MANIFESTS) - {"kustomization"}))
@pytest.mark.parametrize("version", VERSIONS)
def test_a_manifest_of_pman_satisfies_the_schema_of_the_api(version: str, name: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


@pytest.mark.parametrize("name", sorted(set(MANIFESTS) - {"kustomization"}))
def test_a_real_api_server_takes_the_manifests_of_pman(namespace: Namespace, name: str) -> None:
    manifest = MANIFESTS[name]
    metadata = {**manifest["metadata"], "name": "pman-dry-run"}  # one that is not there yet

    assert dry_run(namespace, {**manifest, "metadata": metadata})["metadata"]["uid"]


def test_the_kustomization_has_every_manifest() -> None:
    listed = {Path(name).stem for name in MANIFESTS["kustomization"]["resources"]}

    assert listed == set(MANIFESTS) - {"kustomization"}


def test_pman_may_do_in_the_cluster_what_it_does_and_nothing_else() -> None:
    permitted = {
        (group, resource): set(rule["verbs"])
        for rule in MANIFESTS["role"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }

    needed = {resource: set(verbs) for resource, verbs in NEEDED.items()}
    verb, group, resource = SEE_CLAIM
    assert permitted == {**needed, (group, resource): {verb}}


def test_the_role_is_that_of_the_service_account_under_which_pman_runs() -> None:
    binding, account = MANIFESTS["rolebinding"], MANIFESTS["serviceaccount"]["metadata"]["name"]

    assert binding["roleRef"]["name"] == MANIFESTS["role"]["metadata"]["name"]
    assert [(each["kind"], each["name"]) for each in binding["subjects"]] == [("ServiceAccount", account)]
    assert binding["subjects"][0]["namespace"] == MANIFESTS["kustomization"]["namespace"]
    assert MANIFESTS["deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == account


def test_pman_is_deployed_with_settings_that_it_knows_and_reached_where_it_listens() -> None:
    deployed = MANIFESTS["deployment"]["spec"]["template"]["spec"]
    (container,) = deployed["containers"]
    environ = {each["name"]: each.get("value", "default") for each in container["env"]}
    assert environ.pop("AUTH_TOKEN") == "default"  # the name of a secret's key

    a_translation("kubernetes", **{"STORAGE_TYPE": "", "STOREBASE": "", **environ})

    assert set(environ) <= set(DECLARED)
    (port,) = container["ports"]
    assert port["containerPort"] == DECLARED["PORT"]["default"]
    assert MANIFESTS["service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    selector, labels = MANIFESTS["service"]["spec"]["selector"], MANIFESTS["deployment"]["spec"]["template"]
    assert selector.items() <= labels["metadata"]["labels"].items()
    assert deployed["securityContext"]["runAsNonRoot"] is True
