/** What a text says as JSON, or the text itself. */
export declare function parsed(text: unknown): any;
