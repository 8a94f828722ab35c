import pytest

from edgecv.errors import DataError
from edgecv.evaluation.class_map import count_classes, match_classes


def message(*arguments: object, **options: object) -> str:
    with pytest.raises(DataError) as raised:
        match_classes(*arguments, **options)  # type: ignore[arg-type]
    return str(raised.value)


def test_names_are_matched_in_any_order() -> None:
    classes = match_classes(["dog", "cat"], ["cat", "cow", "dog"])
    assert [classes.of(number) for number in range(4)] == [1, -1, 0, -1]


def test_capitals_and_underscores_matter_only_where_they_have_to() -> None:
    assert match_classes(["hot_dog", "Cat"], ["cat", "hot dog"]).numbers == {1: 0, 0: 1}
    # Both spellings are labels: each is itself.
    assert match_classes(["Cat", "cat"], ["cat", "Cat"]).numbers == {1: 0, 0: 1}


def test_numbers_count_where_no_name_agrees() -> None:
    assert match_classes(["0", "1"], ["zero", "one"]).numbers == {0: 0, 1: 1}
    assert match_classes(["0", "1"], [], count=2).numbers == {0: 0, 1: 1}
    assert match_classes(["0", "1"], []).numbers == {0: 0, 1: 1}


def test_labels_that_repeat_are_matched_by_number_where_all_are_equal() -> None:
    labels = ["missile", "cat", "missile"]
    assert match_classes(labels, labels).numbers == {0: 0, 1: 1, 2: 2}
    assert message(["cat", "missile"], labels) == (
        "The network has 2 classes called 'missile': 0, 2. Give it labels that differ."
    )


def test_an_unknown_class_is_named() -> None:
    assert message(["cat", "dgo"], ["cat", "dog"]) == (
        "The network does not know class 'dgo' of the data. Did you mean 'dog'? It knows cat, dog. "
        "Rename the class, or leave it out."
    )
    assert message(["x", "y"], list("abcdefg")) == (
        "The network does not know class 'x' of the data. It knows a, b, c, d, e and 2 more. "
        "Rename the class, or leave it out."
    )


def test_counts_that_differ_without_labels_are_refused() -> None:
    assert message(["a", "b"], [], count=3) == (
        "The data have 2 classes and the network 3, and it has no labels to match them by. "
        "Give it labels, or data of its classes."
    )


@pytest.mark.parametrize(
    ("task", "outputs", "labels", "expected"),
    [
        ("classification", {"probabilities": [None, 7]}, [], 7),
        ("classification", {"logits": [1, 6]}, [], 6),
        ("classification", {"scores": [1, 5], "classes": [1, 5]}, [], None),
        ("classification", {"scores": [1, 5], "classes": [1, 5]}, ["a", "b"], 2),
        ("localisation", {"probabilities": [1, 3], "box": [1, 4]}, [], 3),
        ("localisation", {"logits": [1, 3], "box": [1, 4]}, [], 3),
        ("detection", {"boxes": [1, 90, 4], "scores": [1, 90, 8]}, [], 8),
        ("detection", {"boxes": [1, 9, 4], "scores": [1, 9], "classes": [1, 9], "count": [1]}, [], None),
        ("segmentation", {"mask": [1, 9, 9]}, [], None),
    ],
)
def test_classes_are_counted_as_far_as_outputs_tell(
    task: str, outputs: dict[str, list[int]], labels: list[str], expected: int | None
) -> None:
    document = {
        "task": task,
        "labels": labels,
        "outputs": [{"name": name, "shape": shape} for name, shape in outputs.items()],
    }
    assert count_classes(document) == expected
