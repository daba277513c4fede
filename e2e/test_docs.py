"""The pages of the documentation whose snippets need a browser do what they say."""

import pytest

from tests.docs.test_snippets import IN_A_BROWSER, execute


@pytest.mark.parametrize("page", IN_A_BROWSER, ids=lambda page: page.name)
def test_a_page_does_what_it_says(page, tmp_path):
    execute(page, tmp_path)
