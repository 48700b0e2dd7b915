"""People and their rights, through Django's own auth. `make WHO` creates some on this server; `look` prints, as JSON, who can
log in with which password, what each may do, and how content types and permissions fit together."""
import json
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
import django

django.setup()
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.test import Client
from shop.models import Tag

PASSWORDS = [f"{word} of {who}" for word in ("root", "alice", "own", "late") for who in "ab"]


def may(*codenames):
    return [Permission.objects.get(codename=codename) for codename in codenames]


def make(who):
    with transaction.atomic():
        User.objects.create_superuser("admin", password=f"root of {who}")
        # The same name on both servers, and a name of its own that gets the same id as another one there.
        own = User.objects.create_user(f"only {who}", password=f"own of {who}")
        alice = User.objects.create_user("alice", password=f"alice of {who}")
        scouts = Group.objects.create(name="scouts")
        scouts.permissions.set(may("add_team", "view_team" if who == "a" else "change_team"))
        leads = Group.objects.create(name=f"leads of {who}")
        leads.permissions.set(may("delete_note"))
        own.groups.set([scouts, leads])
        own.user_permissions.set(may("add_note"))
        alice.groups.set([scouts] if who == "a" else [scouts, leads])
        Tag.objects.create(label="shared")
        Tag.objects.create(label=f"of {who}")


def later(who):
    # In one transaction, which begins with a write: one that reads first is refused where a node has written since, whatever its timeout.
    with transaction.atomic():
        late = User.objects.create_user(f"late {who}", password=f"late of {who}")
        late.groups.set(Group.objects.filter(name="scouts"))


def look():
    users = {}
    for user in User.objects.order_by("username"):
        logins = [password for password in PASSWORDS if Client().login(username=user.username, password=password)]
        users[user.username] = {
            "logins": logins,
            "root": user.is_superuser,
            "groups": sorted(group.name for group in user.groups.all()),
            "rights": sorted(user.get_all_permissions()) if not user.is_superuser else "all",
        }
    print(json.dumps({
        "users": users,
        "types": sorted(f"{kind.app_label}.{kind.model}" for kind in ContentType.objects.all()),
        "permissions": sorted(f"{one.content_type.app_label}.{one.content_type.model}.{one.codename}" for one in Permission.objects.all()),
        "tags": sorted(tag.label for tag in Tag.objects.all()),
    }))


{"make": make, "later": later, "look": look}[sys.argv[1]](*sys.argv[2:])
