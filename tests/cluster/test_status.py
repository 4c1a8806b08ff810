from shirube.cluster import control, status
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec


def test_no_cluster_says_how_to_make_one(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    found = status.read(ClusterLayout.of("edge"))
    assert not found.running
    assert found.problems == ["there is no cluster edge here; make one with `shirube up --name edge`"]


def test_a_stopped_cluster_says_how_to_start_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    cluster = ClusterLayout.of("edge")
    ClusterSpec().save(cluster.spec)
    found = status.read(cluster)
    assert found.problems == ["it is not running; start it with `shirube up --name edge`"]
    assert "cluster edge: not running" in status.lines(cluster, found)[0]


def test_what_is_wrong_with_a_component_is_said_in_words(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    cluster = ClusterLayout.of("edge")
    ClusterSpec(nodes=0).save(cluster.spec)
    children = [
        {"name": "apiserver", "pid": 0, "seconds": 0, "restarts": 1, "last_exit": "signal 9", "log": "/l/a.log"},
        {
            "name": "scheduler",
            "pid": 5,
            "seconds": 8000,
            "restarts": 4,
            "last_exit": "exit status 1",
            "log": "/l/s.log",
        },
    ]
    monkeypatch.setattr(control, "ask", lambda path, operation: {"ok": True, "children": children})
    monkeypatch.setattr(status, "_read_nodes", lambda cluster, spec, found: None)
    found = status.read(cluster)
    assert found.problems == [
        "apiserver is not running (signal 9); it is being restarted; see /l/a.log",
        "scheduler was restarted 4 times (exit status 1); see /l/s.log",
    ]
    text = "\n".join(status.lines(cluster, found))
    assert "apiserver" in text and "down" in text and "2 h" in text
