"""Guests order, the bar makes it, and both see at once what the other does.

A page is rendered with what the database says and from then on changed by what is published. It is published when the
transaction is committed, so no page hears of an order that was rolled back.
"""

from django.contrib.auth import get_user_model, login, logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST
from shaveet.django import publish, user_channel

from .models import Order

DRINKS = ["Espresso", "Cappuccino", "Tea"]
BAR = "bar"
"""Who comes by this name works here. A real site knows it from its login."""


def channels(user):
    """What the pages of a user listen to: the setting SHAVEET["CHANNELS"] names this."""
    return [BAR] if user.is_staff else [user_channel(user)]


def tell(order):
    """Tells the guest and the bar how an order is."""
    for channel in (user_channel(order.owner), BAR):
        publish(channel, order.as_dict(), sender="shop")


def page(request):
    orders = Order.objects.select_related("owner").order_by("pk")
    orders = orders.filter(is_ready=False) if request.user.is_staff else orders.filter(owner=request.user.pk)
    # The template reads them behind {% shaveet %}: from there on the page hears what changes.
    return render(request, "page.html", {"drinks": DRINKS, "orders": orders})


@require_POST
def enter(request):
    name = request.POST.get("name", "").strip()
    if not 1 <= len(name) <= 20:
        return HttpResponseBadRequest("A name has 1 to 20 characters.")
    user, _ = get_user_model().objects.get_or_create(username=name, defaults={"is_staff": name == BAR})
    login(request, user)
    return redirect("/")


@require_POST
def leave(request):
    logout(request)
    return redirect("/")


@require_POST
@login_required
@transaction.atomic
def order(request):
    if request.POST.get("drink") not in DRINKS:
        return HttpResponseBadRequest("That we do not have.")
    tell(Order.objects.create(owner=request.user, drink=request.POST["drink"]))
    return HttpResponse(status=204)


@require_POST
@login_required
@transaction.atomic
def ready(request, pk):
    if not request.user.is_staff:
        raise PermissionDenied
    made = get_object_or_404(Order, pk=pk)
    made.is_ready = True
    made.save()
    tell(made)
    return HttpResponse(status=204)
