/**
 * Ansible with the vendor's own collection, as current as Python 3.11 carries it: distributions' packages read fields of a server that the API
 * no longer sends. Made once into $LANDFALL_TOOLS_DIR; needs python3 with venv, and PyPI. Nothing of it is part of Landfall.
 */

import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, toolsDirectory } from '../../machines/cluster/tools.ts'

const CORE = '2.19.14'
const COLLECTION = '6.12.0'
/** The bundle whose wheel holds that collection; Galaxy alone offers it by itself. */
const BUNDLE = '14.5.0'
const LIBRARIES = ['hcloud==2.27.0', 'python-dateutil', 'requests']

export const ANSIBLE_VERSION = `ansible-core ${CORE}, hetzner.hcloud ${COLLECTION}`

const directory = (): string => join(toolsDirectory(), `ansible-${CORE}-${COLLECTION}`)

export const ansiblePaths = () => ({
  programs: join(directory(), 'venv/bin'),
  python: join(directory(), 'venv/bin/python3'),
  collections: join(directory(), 'collections'),
})

const UNPACK = `
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])
wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith('ansible_collections/hetzner/')])
`

/** Makes what is missing. */
export async function installAnsible(): Promise<void> {
  const place = directory()
  const finished = join(place, 'finished')
  if (existsSync(finished)) return
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place, { recursive: true })
  const { python, collections } = ansiblePaths()
  const pip = [python, '-m', 'pip', '--quiet', '--disable-pip-version-check']
  await run(['python3', '-m', 'venv', 'venv'], place)
  await run([...pip, 'install', `ansible-core==${CORE}`, ...LIBRARIES], place)
  // For a newer Python than this one; the collection itself runs here.
  await run(
    [...pip, 'download', '--no-deps', '--python-version', '3.13', '--only-binary=:all:', '-d', 'wheel', `ansible==${BUNDLE}`],
    place,
  )
  await run([python, '-c', UNPACK, 'wheel', collections], place)
  rmSync(join(place, 'wheel'), { recursive: true })
  writeFileSync(finished, '')
}
