/** Any text as label values and back: the vendor's grammar allows 63 letters, digits, `-_.`, and no spaces, colons, slashes or `@`. */

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'
const CHUNK = 63

/** `{key}-0`, `{key}-1` … with base32 (RFC 4648, lower case, no padding) of the text's UTF-8 bytes. */
export function labelsFromText(key: string, text: string): Record<string, string> {
  let bits = ''
  for (const byte of new TextEncoder().encode(text)) bits += byte.toString(2).padStart(8, '0')
  const encoded = (bits.match(/.{1,5}/g) ?? []).map(five => ALPHABET[Number.parseInt(five.padEnd(5, '0'), 2)]).join('')
  const chunks = encoded.match(new RegExp(`.{1,${CHUNK}}`, 'g')) ?? []
  return Object.fromEntries(chunks.map((chunk, index) => [`${key}-${index}`, chunk]))
}

/** The text that `labelsFromText` put under `key`; undefined when there is none or it is damaged. */
export function textFromLabels(key: string, labels: Readonly<Record<string, string>>): string | undefined {
  let encoded = ''
  for (let index = 0; labels[`${key}-${index}`] !== undefined; index++) encoded += labels[`${key}-${index}`]
  if (encoded === '' || !/^[a-z2-7]+$/.test(encoded)) return undefined
  const bits = [...encoded].map(letter => ALPHABET.indexOf(letter).toString(2).padStart(5, '0')).join('')
  const bytes = (bits.match(/.{8}/g) ?? []).map(byte => Number.parseInt(byte, 2))
  return new TextDecoder().decode(new Uint8Array(bytes))
}
