import pytest
from node import pod

from shirube.kubelet import huge_pages, node_info, qos

TWO, GIB = 2 << 20, 1 << 30


def asking(*sizes):
    requests = {f"hugepages-{size}": "4Mi" for size in sizes}
    return pod("p", {"resources": {"requests": requests, "limits": requests}})


def test_what_the_kernel_has(tmp_path):
    for size, count in ((2048, 3), (1048576, 0), (64, 2)):
        (tmp_path / f"hugepages-{size}kB").mkdir()
        (tmp_path / f"hugepages-{size}kB" / "nr_hugepages").write_text(f"{count}\n")
    found = node_info.huge_pages(tmp_path)
    assert found == {TWO: 3 * TWO, GIB: 0, 65536: 131072}
    shown = {name: huge_pages.amount(total) for name, total in huge_pages.resources(found).items()}
    assert shown == {"hugepages-1Gi": "0", "hugepages-2Mi": "6Mi", "hugepages-64Ki": "128Ki"}
    assert set(huge_pages.resources({})) == {"hugepages-1Gi", "hugepages-2Mi"}


def test_containers_are_held_to_their_limits():
    made = asking("2Mi", "1Gi")
    limits = qos.linux_resources(made, made["spec"]["containers"][0], GIB)["hugepage_limits"]
    assert limits == [{"page_size": "1GB", "limit": 4 << 20}, {"page_size": "2MB", "limit": 4 << 20}]


def test_the_page_size_of_a_volume():
    assert huge_pages.page_size("HugePages", asking("2Mi")) == TWO
    assert huge_pages.page_size("HugePages-1Gi", asking("2Mi", "1Gi")) == GIB
    with pytest.raises(ValueError, match="several page sizes are requested"):
        huge_pages.page_size("HugePages", asking("2Mi", "1Gi"))
    with pytest.raises(ValueError, match="no page size is requested"):
        huge_pages.page_size("HugePages", asking())
    with pytest.raises(ValueError, match="needs a request of hugepages-1Gi"):
        huge_pages.page_size("HugePages-1Gi", asking("2Mi"))
