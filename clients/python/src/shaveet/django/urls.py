"""``path("shaveet/", include("shaveet.django.urls"))``."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from ..page import NEW_CLIENT_HEADER
from . import try_new_client

app_name = "shaveet"


@csrf_exempt  # type: ignore[untyped-decorator, unused-ignore]
@require_POST  # type: ignore[untyped-decorator, unused-ignore]
def client(request: HttpRequest) -> HttpResponse:
    """A new client for a page whose old one is gone. No form of another site can send the header."""
    if NEW_CLIENT_HEADER not in request.headers:
        return HttpResponse(f"the header {NEW_CLIENT_HEADER} is missing\n", status=405, content_type="text/plain")
    if not request.user.is_authenticated:
        return HttpResponse("nobody is logged in\n", status=401, content_type="text/plain")
    made = try_new_client(request.user)
    if made is None:
        return HttpResponse("the push server does not answer\n", status=503, content_type="text/plain")
    return HttpResponse(made.as_json(), headers=dict(made.headers()))


urlpatterns = [path("client", client, name="client")]
