import { describe, expect, test } from 'bun:test'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { listedImages, parseVariables, renderImages } from '../../../lib/image/image.ts'
import { hashFiles, ROOT, readImageSource } from '../../../lib/image/source.ts'
import { declaredVariables, isAtLeast } from '../../../lib/providers/packer/output.ts'
import type { Image, Server } from '../../../lib/providers/ports/cloud.ts'
import { imageName } from '../../../lib/steps/image-build.ts'
import { packerKeyMadeAtMs, spareImages } from '../../../lib/steps/image-keep.ts'

const image = (id: string, day: number, more: Partial<Image> = {}): Image => ({
  id,
  description: `nixos-dokploy-202611${day}`,
  kind: 'snapshot',
  status: 'available',
  architecture: 'x86',
  diskGb: 40,
  sizeGb: 2,
  createdAt: `2026-11-${day}T10:00:00+00:00`,
  labels: { 'landfall/image': 'nixos-dokploy' },
  ...more,
})

const server = (name: string, imageId: string): Server => ({
  id: name,
  name,
  status: 'running',
  labels: {},
  type: 'cx23',
  location: 'nbg1',
  privateIps: [],
  firewallIds: [],
  imageId,
  createdAt: '2026-11-11T10:00:00+00:00',
  locked: false,
  deleteProtected: false,
})

const ids = (images: readonly Image[]): string[] => images.map(each => each.id)

describe('which images are spare', () => {
  const images = [image('a', 10), image('b', 11), image('c', 12), image('d', 13)]

  test('all but the newest N are, whatever their order', () => {
    expect(ids(spareImages(images, [], 2))).toEqual(['b', 'a'])
    expect(ids(spareImages([...images].reverse(), [], 2))).toEqual(['b', 'a'])
  })

  test('the newest stays although nothing shall be kept', () => {
    expect(ids(spareImages(images, [], 0))).toEqual(['c', 'b', 'a'])
  })

  test('one that any server of the project was made from stays', () => {
    expect(ids(spareImages(images, [server('prod', 'a')], 1))).toEqual(['c', 'b'])
  })

  test('a failed one goes and does not count; one that is being made stays', () => {
    const mixed = [...images, image('failed', 14, { status: 'unavailable' }), image('making', 15, { status: 'creating' })]
    expect(ids(spareImages(mixed, [], 4))).toEqual(['failed'])
  })

  test('other snapshots and system images are none of ours', () => {
    const strangers = [image('x', 10, { labels: {} }), image('y', 10, { kind: 'system' })]
    expect(spareImages([...strangers, image('a', 12)], [], 1)).toEqual([])
  })

  test('each architecture keeps its own newest', () => {
    expect(ids(spareImages([image('arm', 10, { architecture: 'arm' }), image('x86', 12)], [], 1))).toEqual([])
  })
})

describe('names', () => {
  const now = Date.parse('2026-11-20T23:59:00Z')
  test.each([
    [[], 'nixos-dokploy-20261120'],
    [['nixos-dokploy-20261120'], 'nixos-dokploy-20261120-2'],
    [['nixos-dokploy-20261120', 'nixos-dokploy-20261120-2'], 'nixos-dokploy-20261120-3'],
    [['nixos-dokploy-20261119'], 'nixos-dokploy-20261120'],
  ])('beside %p the image is called %s', (taken, name) => {
    expect(
      imageName(
        now,
        taken.map(description => ({ description })),
      ),
    ).toBe(name)
  })
})

describe('what a build is made of', () => {
  const files = [['nixos/a.nix', Buffer.from('one')] as const, ['packer/b', Buffer.from('two')] as const]
  const hash = hashFiles(files)

  test('the hash is a label’s value and changes with content, with names, and with what stands where', () => {
    expect(hash).toMatch(/^[0-9a-f]{40}$/)
    const others = [
      [['nixos/a.nix', Buffer.from('onE')] as const, ['packer/b', Buffer.from('two')] as const],
      [['nixos/c.nix', Buffer.from('one')] as const, ['packer/b', Buffer.from('two')] as const],
      [['nixos/a.nix', Buffer.from('onetwo')] as const, ['packer/b', Buffer.from('')] as const],
    ]
    expect(new Set([hash, ...others.map(hashFiles)]).size).toBe(4)
  })

  test('this project’s own sources tell their releases', () => {
    const source = readImageSource(ROOT)
    expect(source).toMatchObject({ nixos: '26.05', dokploy: '0.30.2' })
    expect(readImageSource(ROOT).content).toBe(source.content)
  })

  test('what Git does not know of the system is told, since Nix leaves it out; without a repository nothing is', () => {
    const directory = mkdtempSync(join(tmpdir(), 'landfall-source-'))
    try {
      for (const part of ['flake.nix', 'flake.lock', 'nixos', 'packer'])
        cpSync(join(ROOT, part), join(directory, part), { recursive: true })
      expect(readImageSource(directory)).toMatchObject({ untracked: [], revision: 'unknown' })
      const git = (...words: string[]) =>
        expect(
          Bun.spawnSync(['git', '-C', directory, '-c', 'user.name=a', '-c', 'user.email=a@example.com', ...words]).exitCode,
        ).toBe(0)
      git('init', '-q')
      git('add', '.')
      git('commit', '-q', '-m', 'all')
      expect(readImageSource(directory)).toMatchObject({ untracked: [], revision: expect.stringMatching(/^[0-9a-f]{12}$/) })
      writeFileSync(join(directory, 'nixos', 'operator-keys'), '')
      writeFileSync(join(directory, 'packer', 'more.sh'), '')
      expect(readImageSource(directory)).toMatchObject({
        untracked: ['nixos/operator-keys'],
        revision: expect.stringMatching(/-dirty$/),
      })
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  test('a directory without them is refused by name', () => {
    expect(() => readImageSource('/usr/share')).toThrow(/holds no flake\.lock/)
  })
})

test('only Packer’s own temporary keys have an age', () => {
  expect(packerKeyMadeAtMs({ name: 'packer-5fb7a1c0-1a2b-3c4d-5e6f-0123456789ab' })).toBe(0x5fb7a1c0 * 1000)
  expect(packerKeyMadeAtMs({ name: 'packer-laptop' })).toBeUndefined()
  expect(packerKeyMadeAtMs({ name: 'my-packer-5fb7a1c0-1a2b-3c4d-5e6f-0123456789ab' })).toBeUndefined()
})

test('versions are compared as numbers', () => {
  expect([isAtLeast('1.6.6', 1, 7), isAtLeast('1.7.0', 1, 7), isAtLeast('1.16.0', 1, 7), isAtLeast('2.0.0', 1, 7)]).toEqual([
    false,
    true,
    true,
    true,
  ])
})

test('a template’s variables are those that it declares', () => {
  expect([
    ...declaredVariables('variable "token" {\n}\n  variable "ssh_port" {}\n# variable "no" {}\nlocals { a = var.b }'),
  ]).toEqual(['token', 'ssh_port'])
})

test('--var takes everything behind the first equals sign', () => {
  expect(parseVariables(['rescue=', 'install_command=a=b'])).toEqual({ rescue: '', install_command: 'a=b' })
  expect(() => parseVariables(['rescue'])).toThrow('--var rescue is not of the form NAME=VALUE.')
})

test('the list says of each image what it is, who uses it, and whether it is fresh', () => {
  const labels = {
    'landfall/image': 'nixos-dokploy',
    'landfall/content': 'abc',
    'landfall/revision': 'f00',
    'landfall/nixos': '26.05',
  }
  const listed = listedImages([image('7', 10, { labels }), image('8', 11)], [server('prod-dokploy', '7')], {
    snapshotGbMonth: { net: 0.01, gross: 0.0119 },
  })
  const text = renderImages(listed, 'EUR', 'abc')
  expect(text.split('\n').filter(line => line.length > 80)).toEqual([])
  expect(text).toContain('nixos-dokploy-20261110, of the present sources')
  expect(text).toContain('2.0 GB, 0.02 EUR a month net, used by prod-dokploy, id 7')
  expect(renderImages(listed, 'EUR', 'xyz')).toContain('None is of the present sources')
})
