"""Model folders: what is written comes back, what is foreign or damaged is refused."""

import json

import pytest
import torch

from ase_continuousp.model.checkpoint import CARD, WEIGHTS, load_model, save_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.paper import PaperEnergy

SMALL = {
    "continuous": lambda: ContinuousEnergy(channels=8, vector_channels=4, n_layers=2),
    "paper": lambda: PaperEnergy(channels=8),
}


def written(path, kind="continuous"):
    network = SMALL[kind]()
    save_model(path, network, network.state_dict(), {"elements": [11, 17]})
    return network


@pytest.mark.parametrize("kind", SMALL)
def test_weights_and_hyperparameters_come_back(tmp_path, kind):
    network = written(tmp_path / "one", kind)
    model = load_model(tmp_path / "one")
    assert model.name == "one"
    assert model.network.hyperparameters == network.hyperparameters
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], tensor, rtol=0, atol=0)
    assert {p.name for p in (tmp_path / "one").iterdir()} == {WEIGHTS, CARD}


def test_hash_follows_the_weights(tmp_path):
    written(tmp_path / "one")
    written(tmp_path / "two")
    (tmp_path / "two" / WEIGHTS).write_bytes((tmp_path / "one" / WEIGHTS).read_bytes())
    same = load_model(tmp_path / "one").hash
    assert load_model(tmp_path / "two").hash == same
    written(tmp_path / "two")  # other random weights
    assert load_model(tmp_path / "two").hash != same


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is not a card of format"),
        ({"kind": "transformer"}, r"kind must be one of .*'transformer'"),
        ({"elements": None}, "lacks the entry 'elements'"),
        ({"hyperparameters": {"channels": 9, "vector_channels": 4}}, "weights of its card"),
        ({"hyperparameters": {"depth": 9}}, "weights of its card"),
    ],
)
def test_wrong_cards_are_named(tmp_path, change, message):
    written(tmp_path)
    card = json.loads((tmp_path / CARD).read_text()) | change
    card = {k: v for k, v in card.items() if v is not None}
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def test_unknown_name_lists_what_ships():
    with pytest.raises(ValueError, match=r"shipped models: .*perov5"):
        load_model("perov6")
