from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pman.errors import ConfigError, Fault
from pman.job import Document
from pman.translation.preview import Preview
from pman.workshop.golden import LIST, compare, files, write

BOTH = {"docker/a/container.yaml": "Image: a\nCmd: []\n", "docker/b/container.yaml": "Image: b\n"}


def a_preview(*documents: Document, faults: tuple[Fault, ...] = (), engine: str = "docker") -> Preview:
    return Preview(engine, documents, faults)


def held(directory: Path) -> Mapping[str, str]:
    found = (file for file in sorted(directory.rglob("*")) if file.is_file() and file.name != LIST)
    return {str(file.relative_to(directory)): file.read_text() for file in found}


def test_each_document_of_a_sample_is_a_file_of_its_own() -> None:
    script, body = Document("job.sh", "true\n", None), Document("job.json", "{}\n", {})

    assert files({"a": a_preview(script, body, engine="slurm")}) == {
        "slurm/a/job.sh": "true\n",
        "slurm/a/job.json": "{}\n",
    }


def test_the_documents_of_one_template_stay_together() -> None:
    parts = [Document("job.yaml", f"kind: {kind}\n", {"kind": kind}) for kind in ("A", "B")]

    assert files({"a": a_preview(*parts)}) == {"docker/a/job.yaml": "kind: A\n---\nkind: B\n"}


def test_a_sample_that_the_engine_cannot_run_is_kept_as_what_it_is_refused_for() -> None:
    refused = a_preview(faults=(Fault("$.gpu_limit", "1: not here", line=3),))

    assert files({"a": refused}) == {"docker/a/refused.txt": "$.gpu_limit: 1: not here\n"}


def test_templates_that_do_not_work_are_no_golden_files() -> None:
    with pytest.raises(ConfigError, match=r"a\.j2, line 3: no such variable"):
        files({"a": a_preview(faults=(Fault("", "no such variable", "site/a.j2", 3),))})


def test_what_was_written_is_what_is_compared(tmp_path: Path) -> None:
    assert {found.file for found in write(tmp_path, BOTH)} == set(BOTH)

    assert held(tmp_path) == BOTH
    assert compare(tmp_path, BOTH) == ()
    assert write(tmp_path, BOTH) == ()


def test_line_ends_are_kept(tmp_path: Path) -> None:
    rendered = {"slurm/a/job.sh": "a\r\nb\rc\n"}

    write(tmp_path, rendered)

    assert (tmp_path / "slurm/a/job.sh").read_bytes() == b"a\r\nb\rc\n"
    assert compare(tmp_path, rendered) == ()


def test_a_difference_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, BOTH)

    (found,) = compare(tmp_path, {**BOTH, "docker/a/container.yaml": "Image: a\nCmd: [x]\n"})

    assert (found.file, found.line) == ("docker/a/container.yaml", 2)


@pytest.mark.parametrize(("text", "line"), [("Image: a\n", 2), ("Image: a\nCmd: []\nUser: b\n", 3), ("", 1)])
def test_a_text_that_is_cut_or_longer_differs_after_its_last_line(
    tmp_path: Path, text: str, line: int
) -> None:
    write(tmp_path, BOTH)

    assert compare(tmp_path, {**BOTH, "docker/a/container.yaml": text})[0].line == line


def test_files_that_are_missing_or_left_over_are_told(tmp_path: Path) -> None:
    write(tmp_path, BOTH)
    (tmp_path / "docker/a/container.yaml").unlink()

    found = compare(tmp_path, {"docker/a/container.yaml": "Image: a\n"})

    assert [(one.file, one.message.partition(":")[0]) for one in found] == [
        ("docker/a/container.yaml", "missing"),
        ("docker/b/container.yaml", "left over"),
    ]


def test_what_is_of_no_use_any_more_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, BOTH)
    write(tmp_path, {"slurm/a/job.sh": "true\n"})
    (tmp_path / "docker/b/README").write_text("mine")
    (tmp_path / "docker/own").mkdir()

    write(tmp_path, {"docker/c/container.yaml": "Image: c\n"})

    assert held(tmp_path) == {
        "docker/b/README": "mine",
        "docker/c/container.yaml": "Image: c\n",
        "slurm/a/job.sh": "true\n",
    }
    assert (tmp_path / "docker/own").is_dir()
    assert not (tmp_path / "docker/a").exists()
    assert (tmp_path / LIST).read_text() == "docker/c/container.yaml\nslurm/a/job.sh\n"


def test_a_list_that_leads_elsewhere_removes_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "mine"
    outside.write_text("mine")
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / LIST).write_text(f"docker/../../mine\n{outside}\n")

    write(golden, BOTH)

    assert outside.read_text() == "mine"


def test_a_directory_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "golden").write_text("a file")

    with pytest.raises(ConfigError, match="golden"):
        write(tmp_path / "golden", BOTH)
