/** The disks of the simulated machines: made at the first boot from the user data, kept over reboots, gone with a rebuild. */

import type { Collection } from '../kit.ts'
import { parseCloudConfig } from './cloud-config.ts'
import type { DiskRow, HostKey, MachineServer } from './state.ts'

export interface Disks {
  /** undefined until somebody has talked to the machine. */
  get(server: Pick<MachineServer, 'id'>): DiskRow | undefined
  all(): DiskRow[]
  /** The disk, made when there is none. Two who ask at once get the same one. */
  ensure(server: MachineServer): Promise<DiskRow>
  change(server: Pick<MachineServer, 'id'>, fields: Partial<DiskRow>): void
  /** Everything but the host key, which the installer holds in memory. */
  erase(server: Pick<MachineServer, 'id'>): void
  /** Whether the disk that is kept is from before the server's last rebuild. */
  isStale(server: MachineServer): boolean
  drop(serverId: string): void
}

export const createDisks = (rows: Collection<DiskRow>): Disks => {
  const making = new Map<string, Promise<DiskRow>>()

  const make = async (server: MachineServer): Promise<DiskRow> => {
    const { hostKey, error } = parseCloudConfig(server.userData)
    const made: DiskRow = {
      serverId: server.id,
      builtAtMs: builtAtMs(server),
      hostKey: hostKey ?? (await generateHostKey()),
      ...(error !== undefined && { cloudInitError: error }),
    }
    rows.put(server.id, made)
    return made
  }

  return {
    get: ({ id }) => rows.get(id),
    all: rows.all,
    async ensure(server) {
      const known = rows.get(server.id)
      if (known) return known
      const key = `${server.id} ${builtAtMs(server)}`
      const made = making.get(key) ?? make(server).finally(() => making.delete(key))
      making.set(key, made)
      return made
    },
    change({ id }, fields) {
      const disk = rows.get(id)
      if (disk) rows.put(id, { ...disk, ...fields })
    },
    erase({ id }) {
      const disk = rows.get(id)
      if (disk) rows.put(id, { serverId: disk.serverId, builtAtMs: disk.builtAtMs, hostKey: disk.hostKey })
    },
    isStale(server) {
      const disk = rows.get(server.id)
      return disk !== undefined && disk.builtAtMs !== builtAtMs(server)
    },
    drop: serverId => {
      rows.delete(serverId)
    },
  }
}

export const generateHostKey = async (): Promise<HostKey> => {
  const { default: ssh2 } = await import('ssh2')
  const pair = ssh2.utils.generateKeyPairSync('ed25519')
  return { privateKey: pair.private, publicKey: pair.public.trim() }
}

const builtAtMs = (server: MachineServer): number => server.rebuiltAtMs ?? 0
