from magnetar.fetch.link.urls import shown


def test_what_is_shown_of_a_url_holds_no_key() -> None:
    assert shown("https://me:word@a.example:8000/w?token=secret#x") == "https://a.example:8000/w"
