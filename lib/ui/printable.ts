/**
 * The one gate between text from outside and a terminal or a log. Whatever a name, an API's answer or a server says, no byte of
 * it is obeyed, hidden or reordered by what displays it.
 */

// Controls, format characters (bidi, zero-width, tags), line and paragraph separators, what fonts leave out, and surrogates
// without their half (with the `u` flag, \p{Cs} matches only those).
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu

const NAMES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

const visible = (char: string): string => {
  const code = Number(char.codePointAt(0))
  if (code <= 0xff) return NAMES[char] ?? `\\x${code.toString(16).padStart(2, '0')}`
  return code <= 0xffff ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`
}

/** `text` with everything unsafe written out (`\x1b`, `\u202e`). With `lines`, line breaks and tabs stay what they are. */
export const printable = (text: string, { lines = false }: { readonly lines?: boolean } = {}): string =>
  text.replace(UNSAFE, char => (lines && (char === '\n' || char === '\t') ? char : visible(char)))

/** One line of JSON in which every unsafe character is escaped; parsing it gives `value` back. */
export const printableJson = (value: unknown): string =>
  JSON.stringify(value).replace(UNSAFE, char =>
    Array.from({ length: char.length }, (_, index) => `\\u${char.charCodeAt(index).toString(16).padStart(4, '0')}`).join(''),
  )
