"""``{% load shaveet %}``, then ``{% shaveet %}`` before the scripts that listen."""

from typing import Any

from django import template
from django.urls import reverse
from django.utils.safestring import mark_safe

from shaveet import page
from shaveet.django import setting, try_new_client

register = template.Library()


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator, unused-ignore]
def shaveet(context: Any, nonce: Any = None) -> Any:
    """The script tags of a page, or nothing if nobody is logged in. See `shaveet.page.html`."""
    request = context.request
    if not request.user.is_authenticated:
        return ""
    url = setting("PAGES_URL", "http://127.0.0.1:8082")
    return mark_safe(page.html(try_new_client(request.user), url, reverse("shaveet:client"), nonce and str(nonce)))
