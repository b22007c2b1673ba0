/** What a text says as JSON, or the text itself. */
export function parsed(text: unknown): any {
  if (typeof text !== "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
