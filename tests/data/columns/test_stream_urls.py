import pytest

from daskpar.data.columns.stream_urls import parse_stream_url

LONG = "azureml://subscriptions/s/resourcegroups/r/workspaces/w/datastores/d/paths/p"


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("https://host/a.png", "https://host/a.png"),
        ("wasbs://c@x.blob.core.windows.net/d/a.png", "https://x.blob.core.windows.net/c/d/a.png"),
        ("abfss://f@x.dfs.core.windows.net/a.png", "https://x.dfs.core.windows.net/f/a.png"),
        ("adl://x.azuredatalakestore.net/a.png", "adl://x.azuredatalakestore.net/a.png"),
        (LONG, LONG),
        ("file:///data/a.png", "/data/a.png"),
        ("azureml://datastores/d/paths/p", None),
        ("s3://bucket/a.png", None),
        ("/data/a.png", None),
        ("", None),
    ],
)
def test_locations(text: str, location: str | None) -> None:
    assert parse_stream_url(text) == location
