/** Text from elsewhere (names of files, what a peer said) for a terminal: control characters, which it would obey, as escapes. */
export function shown(text: string): string {
  return text.replace(/\p{Cc}/gu, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
