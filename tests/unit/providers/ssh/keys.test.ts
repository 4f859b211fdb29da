import { expect, test } from 'bun:test'
import { createPublicKey, verify } from 'node:crypto'
import ssh2 from 'ssh2'
import { generateKey } from '../../../../lib/providers/ssh/keys.ts'
import { checkTarget } from '../../../../lib/providers/ssh/target.ts'

test('a generated pair is read by an SSH library, its halves belong together, and no two are alike', () => {
  const pairs = Array.from({ length: 50 }, generateKey)
  for (const { privateKey, publicKey } of pairs) {
    const parsed = ssh2.utils.parseKey(privateKey.reveal())
    if (parsed instanceof Error) throw parsed
    const [key] = Array.isArray(parsed) ? parsed : [parsed]
    if (key === undefined) throw new Error('no key was read')
    expect(`ssh-ed25519 ${key.getPublicSSH().toString('base64')}`).toBe(publicKey)
    const message = Buffer.from('a message')
    const signature = key.sign(message)
    if (signature instanceof Error) throw signature
    expect(verify(null, message, createPublicKey(key.getPublicPEM()), signature)).toBe(true)
    const pinned = { name: 'a', address: '203.0.113.7', port: 22, user: 'root', hostKeyAlias: 'a', hostKey: publicKey }
    expect(() => checkTarget(pinned)).not.toThrow()
  }
  expect(new Set(pairs.map(pair => pair.publicKey)).size).toBe(50)
})

test('a private key prints as its name and ends its lines as OpenSSH does', () => {
  const { privateKey } = generateKey()
  expect(`${privateKey} ${JSON.stringify({ privateKey })}`).not.toContain('PRIVATE KEY-')
  const lines = privateKey.reveal().split('\n')
  expect(lines[0]).toBe('-----BEGIN OPENSSH PRIVATE KEY-----')
  expect(lines.at(-2)).toBe('-----END OPENSSH PRIVATE KEY-----')
  expect(Math.max(...lines.map(line => line.length))).toBeLessThanOrEqual(70)
})
