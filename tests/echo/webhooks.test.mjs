// Webhooks, read by Pusher's SDK as an application reads them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";

import { Application } from "./application.mjs";
import { closeAll, Inbox, present, subscribed, tab } from "./client.mjs";
import { SETUPS } from "./servers.mjs";

for (const [where, setUp] of SETUPS) {
  describe(where, () => {
    let servers, application, receiver, told;
    before(async () => {
      told = new Inbox();
      receiver = createServer(async (request, answer) => {
        let rawBody = "";
        for await (const text of request.setEncoding("utf8")) rawBody += text;
        told.put({ headers: request.headers, rawBody });
        answer.end();
      }).listen(0, "127.0.0.1");
      await once(receiver, "listening");
      const url = `http://127.0.0.1:${receiver.address().port}/webhook`;
      servers = await setUp({ YAMABIKO__PUSHER__WEBHOOKS: `[{ url = "${url}" }]` });
      application = await Application.start(servers.a);
    });
    after(async () => {
      application?.stop();
      await servers?.stop();
      receiver?.closeAllConnections();
      receiver?.close();
    });
    afterEach(closeAll);

    test("one node sends each webhook once, with a signature that the SDK accepts", async () => {
      const { a, b } = servers;
      const [aoi, again] = await Promise.all([tab(a, application, "aoi"), tab(b, application, "aoi")]);
      await present(aoi, "Room.1");
      await present(again, "Room.1");
      await subscribed(again.channel("cache-state"));
      aoi.join("Room.1").whisper("typing", { n: 1 });

      const events = [];
      async function until(name, channel) {
        while (!events.some((event) => event.name === name && event.channel === channel)) {
          const request = await told.next(`${name} on ${channel} after ${JSON.stringify(events)}`);
          const webhook = a.sdk().webhook(request);
          assert.ok(webhook.isValid(), request.rawBody);
          assert.ok(!a.sdk({ secret: "not the secret" }).webhook(request).isValid());
          assert.ok(Math.abs(Date.now() - webhook.getTime()) < 60_000);
          events.push(...webhook.getEvents());
        }
      }
      await until("client_event", "presence-Room.1");
      aoi.disconnect();
      again.disconnect();
      await until("channel_vacated", "presence-Room.1");
      await until("channel_vacated", "cache-state");
      const of = (channel) => events.filter((event) => event.channel === channel && event.name !== "subscription_count");
      const socket_id = of("presence-Room.1").find(({ name }) => name === "client_event")?.socket_id;
      assert.match(socket_id, /^\d+\.\d+$/);
      assert.deepEqual(sorted(of("presence-Room.1")), sorted([
        { name: "channel_occupied", channel: "presence-Room.1" },
        { name: "member_added", channel: "presence-Room.1", user_id: "7" },
        { name: "client_event", channel: "presence-Room.1", event: "client-typing", data: '{"n":1}', socket_id, user_id: "7" },
        { name: "member_removed", channel: "presence-Room.1", user_id: "7" },
        { name: "channel_vacated", channel: "presence-Room.1" },
      ]));
      assert.deepEqual(sorted(of("cache-state")), sorted([
        { name: "channel_occupied", channel: "cache-state" },
        { name: "cache_miss", channel: "cache-state" },
        { name: "channel_vacated", channel: "cache-state" },
      ]));
    });
  });
}

function sorted(events) {
  return events.map((event) => JSON.stringify(event, Object.keys(event).sort())).sort();
}
