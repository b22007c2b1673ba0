// How far a page has read its channels, by the `id` of frames of the Pusher protocol.

export interface PusherFrame {
  event: string;
  channel?: string;
  data?: any;
  user_id?: string;
  id?: string;
}

export interface Positions {
  last: Record<string, string>;
  /** Notes the position of a frame. False: the page has had it already. */
  isNew(frame: PusherFrame): boolean;
}

export function createPositions(): Positions {
  const last: Record<string, string> = {};
  return {
    last,
    isNew({ event, channel = "", id = "" }) {
      const before = last[channel];
      // The server's own, such as yamabiko:gap, say where to go on. They are never old.
      const isOwn = /^(pusher_internal|yamabiko):/.test(event);
      // Positions of one epoch are compared by their offsets.
      const [epoch, offset] = id.split("-");
      if (!isOwn && before?.startsWith(`${epoch}-`) && Number(offset) <= Number(before.split("-")[1])) return false;
      if (id && (isOwn || before)) last[channel] = id;
      return true;
    },
  };
}
