"""A Kubernetes cluster from outside, and in it a namespace in which pman may do what it ships, no more."""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

DEPLOY = Path(__file__).parents[2] / "deploy/kubernetes"

PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}

PERMISSIONS = ("ServiceAccount", "Role", "RoleBinding")
"""Kinds of the documents that give pman its permissions."""

DAY = 86_400


class ClusterError(Exception):
    """The cluster is not there, or does not do what is asked; `status` is that of HTTP, or 0."""

    def __init__(self, told: str, status: int = 0) -> None:
        super().__init__(told)
        self.status = status


class Cluster:
    """The API server as the user of a kubeconfig sees it: plain data in and out."""

    def __init__(self, kubeconfig: str) -> None:
        """Raises ClusterError for a file that leads nowhere."""
        self.kubeconfig = kubeconfig
        found = client.Configuration()
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]  # its package has no types for it
                config_file=kubeconfig, client_configuration=found
            )
            _, current = config.list_kube_config_contexts(kubeconfig)  # type: ignore[no-untyped-call]  # as above
        except ConfigException as error:
            raise ClusterError(str(error)) from error
        self.server: str = found.host
        self.namespace: str = current["context"].get("namespace", "default")
        self.authority = Path(found.ssl_ca_cert).read_bytes() if found.ssl_ca_cert else b""
        self._session = requests.Session()
        self._session.trust_env = False  # REQUESTS_CA_BUNDLE would go before the cluster's authority
        self._session.verify = found.ssl_ca_cert or bool(found.verify_ssl)
        if found.cert_file and found.key_file:
            self._session.cert = (found.cert_file, found.key_file)
        if token := found.get_api_key_with_prefix("BearerToken"):
            self._session.headers["Authorization"] = token

    def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """Raises ClusterError in the API server's own words."""
        kind = "application/json"
        if method == "PATCH":
            kind = "application/json-patch+json" if isinstance(body, list) else "application/merge-patch+json"
        url, headers = self.server + path, {"Content-Type": kind}
        try:
            answer = self._session.request(method, url, params=query, json=body, headers=headers, timeout=60)
        except requests.RequestException as error:
            raise ClusterError(str(error)) from error
        told = answer.json() if answer.content else {}
        if answer.status_code >= 400:
            raise ClusterError(told.get("message", answer.text), answer.status_code)
        return told

    def version(self) -> tuple[int, int]:
        told = self.call("GET", "/version")
        return int(told["major"]), int(re.sub(r"\D.*", "", told["minor"]))

    def nodes(self) -> list[Any]:
        found: list[Any] = self.call("GET", "/api/v1/nodes")["items"]
        return found


class Namespace:
    """Where the jobs of the tests are, and what pman is told to find it."""

    def __init__(self, cluster: Cluster, name: str, kubeconfig: str) -> None:
        self.cluster = cluster
        self.name = name
        self.environment = {"KUBECONFIG": kubeconfig, "JOB_NAMESPACE": name}

    def kubeconfig_for(self, server: str, directory: Path) -> str:
        """pman's kubeconfig, with another address."""
        content = yaml.safe_load(Path(self.environment["KUBECONFIG"]).read_text())
        for entry in content["clusters"]:
            entry["cluster"]["server"] = server
        file = directory / "kubeconfig-elsewhere"
        file.write_text(yaml.safe_dump(content))
        return str(file)

    def objects(self, jid: str, path: str) -> list[Any]:
        """The objects of a job that pman made, e.g. of `/apis/batch/v1 jobs`."""
        api, kind = path.split()
        selector = f"org.chrisproject.pman.jid={jid}"
        answer = self.cluster.call("GET", f"{api}/namespaces/{self.name}/{kind}", labelSelector=selector)
        found: list[Any] = answer["items"]
        return found

    def job(self, jid: str) -> Any:
        (found,) = self.objects(jid, "/apis/batch/v1 jobs")
        return found

    def pods(self, jid: str) -> list[Any]:
        return self.objects(jid, "/api/v1 pods")

    @contextmanager
    def claim(self, base: Path) -> Iterator[str]:
        """Give the name of a claim of the tests' own with this directory of the host behind it."""
        name = f"pman-test-{uuid.uuid4().hex[:8]}"
        claims = f"/api/v1/namespaces/{self.name}/persistentvolumeclaims"
        shared = {"storageClassName": "", "accessModes": ["ReadWriteMany"]}
        volume = {**shared, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(base)},
                  "claimRef": {"namespace": self.name, "name": name}}  # fmt: skip
        claim = {**shared, "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
        self.cluster.call("POST", "/api/v1/persistentvolumes", _object("PersistentVolume", name, volume))
        try:
            self.cluster.call("POST", claims, _object("PersistentVolumeClaim", name, claim))
            while self.cluster.call("GET", f"{claims}/{name}")["status"]["phase"] != "Bound":
                time.sleep(0.1)
            yield name
        finally:
            with suppress(ClusterError):
                self.cluster.call("DELETE", f"{claims}/{name}")
            self.cluster.call("DELETE", f"/api/v1/persistentvolumes/{name}")

    def close(self) -> None:
        """Nothing: it was there before."""


def _object(kind: str, name: str, spec: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


class OwnNamespace(Namespace):
    """Made for the tests, with the permissions of deploy/kubernetes/, and removed after them."""

    def __init__(self, cluster: Cluster) -> None:
        """Raises ClusterError, with status 403 where the user may not make all that."""
        name = f"pman-test-{uuid.uuid4().hex[:8]}"
        self._directory = Path(tempfile.mkdtemp(prefix="pman-test-"))
        super().__init__(cluster, name, str(self._directory / "kubeconfig"))
        metadata = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        cluster.call("POST", "/api/v1/namespaces", metadata)
        try:
            account = self._apply_permissions()
            self._write(self._token(account))
        except BaseException:
            self.close()
            raise

    def _apply_permissions(self) -> str:
        """The name of the service account."""
        documents = [each for each in shipped(self.name) if each["kind"] in PERMISSIONS]
        for document in documents:
            self.cluster.call("POST", PATHS[document["kind"]].format(self.name), document)
        (account,) = (each for each in documents if each["kind"] == "ServiceAccount")
        return str(account["metadata"]["name"])

    def _token(self, account: str) -> str:
        path = PATHS["ServiceAccount"].format(self.name) + f"/{account}"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": {"expirationSeconds": DAY}}  # fmt: skip
        try:
            return str(self.cluster.call("POST", f"{path}/token", body)["status"]["token"])
        except ClusterError as error:
            if error.status != 404:  # an API server without a signing key for tokens, as before 1.20
                raise
        for _ in range(100):
            for secret in self.cluster.call("GET", path).get("secrets", ()):
                found = self.cluster.call("GET", f"/api/v1/namespaces/{self.name}/secrets/{secret['name']}")
                return base64.b64decode(found["data"]["token"]).decode()
            time.sleep(0.1)
        raise ClusterError(f"the service account {account} gets no token")

    def _write(self, token: str) -> None:
        authority = base64.b64encode(self.cluster.authority).decode()
        server = {"server": self.cluster.server, "certificate-authority-data": authority}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": server}],
            "users": [{"name": "pman", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "pman"}}],
            "current-context": "it",
        }
        file = Path(self.environment["KUBECONFIG"])
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(content))

    def close(self) -> None:
        self.cluster.call("DELETE", f"/api/v1/namespaces/{self.name}")
        shutil.rmtree(self._directory)


def shipped(namespace: str) -> Iterator[Any]:
    """The documents of deploy/kubernetes/, in a namespace as its kustomization would put them."""
    for file in yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]:
        for document in yaml.safe_load_all((DEPLOY / file).read_text()):
            document["metadata"]["namespace"] = namespace
            for subject in document.get("subjects", ()):
                subject["namespace"] = namespace
            yield document


def namespace(cluster: Cluster) -> Namespace:
    """One of the tests' own; where the user may not make one, the kubeconfig as it is."""
    try:
        return OwnNamespace(cluster)
    except ClusterError as error:
        if error.status != 403:
            raise
    return Namespace(cluster, cluster.namespace, cluster.kubeconfig)
