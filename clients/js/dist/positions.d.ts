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
export declare function createPositions(): Positions;
