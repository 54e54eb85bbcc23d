"""A Django project that pushes: orders of a coffee bar. Everything about pushing is in SHAVEET and in shop/.

Settings, urls and manage.py in one file, so that there is little to read besides.
"""

import os
import re
import sys
import tempfile

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.urls import include, path

HOST, PORT = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "5000")
SHAVEET_RPC = os.environ.get("SHAVEET_RPC", "http://127.0.0.1:8082/")

settings.configure(
    DEBUG=True,
    SECRET_KEY="of an example that runs on your machine alone",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "shaveet.django",
        "shop",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
        }
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(tempfile.mkdtemp(), "orders.sqlite3"),
            "OPTIONS": {"timeout": 20},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    STATIC_URL="static/",
    SHAVEET={
        "URL": SHAVEET_RPC,
        "PAGES_URL": os.environ.get("SHAVEET_URL") or re.sub(r"//[^:/]+", f"//{HOST}", SHAVEET_RPC),
        "CHANNELS": "shop.views.channels",
    },
)
django.setup()

urlpatterns = [path("shaveet/", include("shaveet.django.urls")), path("", include("shop.urls"))]

if __name__ == "__main__":
    execute_from_command_line([sys.argv[0], "migrate", "--run-syncdb", "--verbosity", "0"])
    execute_from_command_line([sys.argv[0], "runserver", "--noreload", f"{HOST}:{PORT}"])
