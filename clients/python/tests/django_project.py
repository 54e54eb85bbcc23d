"""A Django project in one file, with the README's parts in their places, and its test: run by test_readme.py."""

import sys

import django
from django.conf import settings

INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
# README: SETTINGS
settings.configure(
    INSTALLED_APPS=INSTALLED_APPS,
    SHAVEET=SHAVEET,  # noqa: F821
    SECRET_KEY="x",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["."]}],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.test import Client  # noqa: E402
from support import Page  # noqa: E402
from test_readme import client_of  # noqa: E402

urlpatterns = []
# README: URLS
urlpatterns += [path("", lambda request: render(request, "page.html"))]  # noqa: F821
# README: RECEIVE


class Order:
    def __init__(self, owner):
        self.owner = owner

    def save(self):
        self.owner.save()


def test(url):
    call_command("migrate", verbosity=0)
    alice = User.objects.create_user("alice")
    browser = Client(enforce_csrf_checks=True)
    assert "shaveet.js" not in browser.get("/").content.decode()
    assert browser.post("/shaveet/client", headers={"X-Shaveet": "1"}).status_code == 401
    browser.force_login(alice)
    page = Page(url, *client_of(browser.get("/").content.decode()))
    try:
        with transaction.atomic():  # noqa: F821
            receive(Order(alice))  # noqa: F821
            raise KeyError("rolled back")
    except KeyError:
        pass
    receive(Order(alice))  # noqa: F821
    messages = []
    while '{"type":"order","state":"received"}' not in messages:
        messages += [message["data"] for message in page.poll() if not message["system"]]
    assert len(messages) == 1, messages
    made = browser.post("/shaveet/client", headers={"X-Shaveet": "1"})
    assert made.json()["client_id"].startswith(f"{alice.pk}_")
    assert browser.post("/shaveet/client").status_code == 405
    print("all is well")


test(sys.argv[1])
