from django.urls import path

from . import views

urlpatterns = [
    path("", views.page),
    path("enter", views.enter),
    path("leave", views.leave),
    path("order", views.order),
    path("ready/<int:pk>", views.ready),
]
