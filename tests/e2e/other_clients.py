# A person at a client that shares no code with the bot: matrix-nio, encrypting with libolm.
#
# Says `help` and `status` to the bot in an encrypted direct chat, and checks what comes back.
# Arguments: homeserver URL, user ID, password, the bot's user ID, a folder for the client's store.

import asyncio
import sys

from nio import (
    AsyncClient,
    AsyncClientConfig,
    LoginResponse,
    MegolmEvent,
    RoomCreateResponse,
    RoomMessageNotice,
    RoomSendResponse,
)


def check(holds, what):
    print("ok:" if holds else "FAILED:", what, flush=True)
    if not holds:
        sys.exit(1)


class Chat:
    def __init__(self, client, bot):
        self.client, self.bot, self.room_id = client, bot, None
        self.heard = asyncio.Queue()
        client.add_event_callback(self.hear, RoomMessageNotice)
        client.add_event_callback(self.hear, MegolmEvent)

    async def hear(self, room, event):
        if room.room_id == self.room_id and event.sender == self.bot:
            print(f"heard: {type(event).__name__} {getattr(event, 'body', '')!r}", flush=True)
            await self.heard.put(event)

    async def begin(self):
        encryption = {
            "type": "m.room.encryption",
            "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        made = await self.client.room_create(
            is_direct=True, invite=[self.bot], initial_state=[encryption]
        )
        check(isinstance(made, RoomCreateResponse), f"a direct chat is made ({made})")
        self.room_id = made.room_id

    def bot_has_joined(self):
        room = self.client.rooms.get(self.room_id)
        members = room.users if room else {}
        return self.bot in members and self.bot not in room.invited_users

    async def say(self, text):
        content = {"msgtype": "m.text", "body": text}
        # Nobody compared keys here: the bot's device is not verified.
        said = await self.client.room_send(
            self.room_id, "m.room.message", content, ignore_unverified_devices=True
        )
        check(isinstance(said, RoomSendResponse), f"{text!r} is sent ({said})")

    async def hear_about(self, part):
        while True:
            event = await self.heard.get()
            check(not isinstance(event, MegolmEvent), "what the bot says can be decrypted")
            if part in event.body:
                check(event.decrypted, f"the answer with {part!r} came encrypted")
                check(
                    event.format == "org.matrix.custom.html" and "<" in event.formatted_body,
                    f"the answer with {part!r} has a formatted body",
                )
                return


async def main(url, user_id, password, bot, store):
    config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
    client = AsyncClient(url, user_id, store_path=store, config=config)
    logged_in = await client.login(password, device_name="nio")
    check(isinstance(logged_in, LoginResponse), f"{user_id} is logged in ({logged_in})")
    syncing = asyncio.create_task(client.sync_forever(timeout=10_000, full_state=True))
    try:
        chat = Chat(client, bot)
        await chat.begin()
        while not chat.bot_has_joined():
            await client.synced.wait()
        check(client.rooms[chat.room_id].encrypted, "the chat is encrypted")
        await chat.say("help")
        await chat.hear_about("`start @new:server`")
        await chat.say("status")
        await chat.hear_about("no migration")
    finally:
        syncing.cancel()
        await client.close()


async def in_time():
    # Within the patience of the test that runs this, which would show nothing of the output.
    await asyncio.wait_for(main(*sys.argv[1:]), timeout=60)


asyncio.run(in_time())
