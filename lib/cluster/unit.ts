/** A systemd unit of one of a cluster's programs. Pure. */

export const unitOf = ({
  about,
  exec,
  type,
  after,
  user,
  more = [],
}: {
  readonly about: string
  readonly exec: string
  readonly type: 'notify' | 'simple'
  readonly after: string
  readonly user: string
  readonly more?: readonly string[]
}): string =>
  [
    '[Unit]',
    `Description=${about}, set up by Landfall`,
    `After=${after}`,
    'Wants=network-online.target',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    `Type=${type}`,
    `User=${user}`,
    `ExecStart=${exec}`,
    'Restart=always',
    'RestartSec=2',
    'LimitNOFILE=65536',
    // Consul reports ready only when it has joined; a first member may wait for the others for long.
    'TimeoutStartSec=infinity',
    ...more,
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n')
