"""What is ordered."""

from django.conf import settings
from django.db import models


class Order(models.Model):
    """A drink for somebody."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    drink = models.CharField(max_length=30)
    is_ready = models.BooleanField(default=False)

    def as_dict(self):
        """As pages show it."""
        return {"id": self.pk, "name": self.owner.username, "drink": self.drink, "ready": self.is_ready}
