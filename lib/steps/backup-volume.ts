/** What Docker calls the volume of an app: Dokploy saves by that name, and where there is none of it, Docker makes an empty one. */

import type { Service } from '../providers/ports/dokploy-apps.ts'

interface Declared {
  readonly name?: unknown
  readonly external?: unknown
}

/** The volumes that a stored compose file names. Empty for one in a repository, which is not here to be read. */
function declaredIn(service: Service): Readonly<Record<string, Declared | null>> {
  if (service.kind !== 'compose' || service.source.kind !== 'raw') return {}
  try {
    const file = Bun.YAML.parse(service.file.reveal()) as { volumes?: Record<string, Declared | null> } | null
    return file?.volumes ?? {}
  } catch (error) {
    // The deploy says what is wrong with it.
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

/** A stack's volume has the stack's name before its own, unless its file gives it another, or `volume` is the whole name already. */
export function volumeNameOf(service: Service, volume: string): string {
  const before = `${service.appName}_`
  if (service.kind === 'application' || volume.startsWith(before)) return volume
  const declared = declaredIn(service)[volume]
  if (typeof declared?.name === 'string') return declared.name
  return declared?.external === true ? volume : `${before}${volume}`
}

/** What config.json calls the volume that Docker calls `name`; undefined where it has no word for it. */
export function volumeCalled(service: Service, name: string): string | undefined {
  const before = `${service.appName}_`
  const own = name.startsWith(before) ? name.slice(before.length) : name
  return [own, ...Object.keys(declaredIn(service))].find(each => volumeNameOf(service, each) === name)
}
