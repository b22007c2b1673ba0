// Every word of the page, in both languages. `data-text`, `data-label`, `data-placeholder` and `data-none` (what stands where
// there is nothing) name a key.

const TEXTS = {
  skip: ["Skip to the users", "ユーザーへ移動"],
  tagline: ["Say it once, and everyone hears it.", "ひとこえで、みんなに届く。"],
  otherLanguage: ["日本語", "English"],
  dark: ["Dark", "ダーク"],
  light: ["Light", "ライト"],
  channel: ["Channel", "チャンネル"],
  custom: ["Other…", "その他…"],
  customName: ["Channel name", "チャンネル名"],
  join: ["Join", "参加"],
  lifetime: ["Tokens last", "トークンの有効期間"],
  hour: ["1 hour", "1時間"],
  seconds15: ["15 seconds", "15秒"],
  users: ["Users", "ユーザー"],
  name: ["Name", "名前"],
  userId: ["User id", "ユーザーID"],
  addUser: ["Add user", "ユーザーを追加"],
  nameTaken: ["{name} is here already", "{name}はすでにいます"],
  nobody: ["Nobody is here. Add a user above.", "ユーザーがいません。上で追加してください。"],
  remove: ["Remove {name}", "{name}を削除"],
  disconnect: ["Disconnect {name}", "{name}を切断"],
  connect: ["Connect {name}", "{name}を接続"],
  cutLine: ["Cut the line of {name} for 5 seconds", "{name}の回線を5秒間切る"],
  cut: ["Line cut", "回線断"],
  lineCut: ["Line cut", "ここで回線が切れました"],
  passed: ["The line is cut. {count} messages have passed by.", "回線が切れています。その間に{count}件のメッセージが流れました。"],
  meanwhile: ["While {name} is away: {number}", "{name}の不在中：{number}"],
  recovered: ["{count} missed, {count} recovered: nothing is missing", "不在中の{count}件をすべて受信、欠落なし"],
  nothingMissed: ["Back: nothing was missed", "復帰しました。受信漏れはありません"],
  missing: ["{missing} messages are missing", "{missing}件のメッセージが欠落しています"],
  gap: ["Messages may be missing: ask the application for them", "欠落の可能性あり。アプリケーションから取得し直してください"],
  messagesOf: ["Messages that {name} receives", "{name}が受信したメッセージ"],
  nothingYet: ["Nothing heard yet", "まだ何も届いていません"],
  to: ["To", "宛先"],
  everyone: ["Everyone", "全員"],
  raw: ["Raw frame", "生フレーム"],
  message: ["Message", "メッセージ"],
  frame: ["Frame, sent as it is", "フレーム（そのまま送信）"],
  send: ["Send", "送信"],
  accepted: ["Accepted", "受付済み"],
  notConnected: ["Not connected", "未接続"],
  unanswered: ["No answer: it may not have been sent", "応答がありません。送信されていない可能性があります"],
  connecting: ["Connecting", "接続中"],
  open: ["Connected", "接続済み"],
  waiting: ["Reconnecting", "再接続中"],
  closed: ["Closed", "切断"],
  comesBack: ["Trying again in {seconds} s.", "{seconds}秒後に再試行します。"],
  noServer: ["The server cannot be reached.", "サーバーに接続できません。"],
  noToken: ["No token: {message}", "トークンを取得できません：{message}"],
  code1000: ["Closed by this page.", "このページから切断しました。"],
  code1001: ["The server is going away.", "サーバーが停止します。"],
  code1002: ["A frame broke the WebSocket protocol.", "WebSocketプロトコル違反です。"],
  code1003: ["This kind of data is not accepted.", "このデータ形式は受け付けられません。"],
  code1006: ["The connection broke off.", "接続が途切れました。"],
  neverOpened: ["The handshake was refused or failed; the server's log says why.", "接続が拒否されたか、失敗しました。理由はサーバーのログで確認できます。"],
  code1007: ["The text was not valid UTF-8.", "UTF-8として不正なテキストです。"],
  code1009: ["The message was too large.", "メッセージが大きすぎます。"],
  code1013: ["The server is over capacity, or this reader is too slow.", "サーバーが混雑しているか、受信が追いついていません。"],
  code4401: ["The token expired; a new one is fetched.", "トークンの有効期限が切れました。新しいトークンを取得します。"],
  code4403: ["Disconnected by the application.", "アプリケーションにより切断されました。"],
  codeOther: ["The connection was closed.", "接続が閉じられました。"],
  publish: ["Publish as Laravel", "Laravelとして配信"],
  publishNote: [
    "What Redis::publish('broadcast', …) does: no connection, no user.",
    "Redis::publish('broadcast', …) と同じ配信です。接続もユーザーも不要です。",
  ],
  data: ["data", "data"],
  speakFor: ["Speak for a user", "ユーザーとして送信"],
  publishNow: ["Publish", "配信"],
  published: ["Published", "配信しました"],
  leftOut: ["Published, but {kind} delivers only {fields}. Left out: {keys}", "配信しましたが、{kind} で届くのは {fields} だけです。除かれたキー：{keys}"],
  notJson: ["data is not JSON: {message}", "data がJSONとして不正です：{message}"],
  notObject: ["data must be a JSON object", "data はJSONオブジェクトにしてください"],
  job: ["Sample job", "サンプルジョブ"],
  jobNote: [
    "Work on the server reports its progress; a connection of its own listens.",
    "サーバー側の処理が進捗を通知し、専用の接続で受信します。",
  ],
  runJob: ["Run the job", "ジョブを実行"],
  stepOf: ["Step {cursor} of {total}", "ステップ {cursor} / {total}"],
  notStarted: ["Not started", "未実行"],
  finished: ["Finished", "完了"],
  echo: ["Laravel Echo", "Laravel Echo"],
  echoNote: [
    "The Pusher protocol: several tabs of a user are one member of",
    "Pusherプロトコルです。同じユーザーの複数のタブは1人のメンバーになります：",
  ],
  openTab: ["Open a tab", "タブを開く"],
  noTabs: ["No tab is open.", "開いているタブはありません。"],
  closeTab: ["Close {name}", "{name}を閉じる"],
  membersHere: ["Who is here", "参加中のメンバー"],
  wave: ["Whisper", "ウィスパー"],
  subscriptionRefused: ["Not on the channel: {message}", "チャンネルに参加できません：{message}"],
  "echo-joined": ["{name} has come", "{name}が参加しました"],
  "echo-left": ["{name} has gone", "{name}が退出しました"],
  "echo-waved": ["{name} whispers", "{name}からのウィスパー"],
  check: ["Check a token", "トークンの確認"],
  checkNote: [
    "Whether this server accepts a token of your application, and if not, why. A browser only reports 1006.",
    "アプリケーションのトークンをこのサーバーが受け入れるか、受け入れないならその理由を調べます。ブラウザーには1006としか表示されません。",
  ],
  token: ["Token", "トークン"],
  checkNow: ["Check", "確認"],
  guide: ["When a page does not connect", "ページが接続できないとき（英語）"],
  valid: ["Accepted", "有効です"],
  claims: ["What the token contains", "トークンの内容"],
  expiresIn: ["expires in {time}", "あと{time}で失効"],
  expiredAgo: ["expired {time} ago", "{time}前に失効"],
  days: ["{count} d", "{count}日"],
  hours: ["{count} h", "{count}時間"],
  minutes: ["{count} min", "{count}分"],
  seconds: ["{count} s", "{count}秒"],
  refused_no_keys: ["The server has no secret to check tokens with: set auth.secret.", "サーバーに検証用のシークレットがありません。auth.secretを設定してください。"],
  refused_missing_token: ["There is no token.", "トークンがありません。"],
  refused_malformed_token: ["This is not a JWT. Was it cut off, encoded twice, or wrapped in quotes?", "JWTではありません。途中で切れているか、二重にエンコードされているか、引用符が付いている可能性があります。"],
  refused_algorithm_not_accepted: ["The server does not accept this algorithm: see auth.algorithms.", "このアルゴリズムは受け付けられません。auth.algorithmsを確認してください。"],
  refused_unknown_key: ["No key of the server has this kid.", "このkidの鍵はサーバーにありません。"],
  refused_bad_signature: ["It was signed with another secret than this server's.", "このサーバーとは別のシークレットで署名されています。"],
  refused_token_expired: ["It has expired. If it is new, compare the clocks of both machines.", "期限が切れています。新しいトークンなら、両方のマシンの時計を比べてください。"],
  refused_token_not_yet_valid: ["Its nbf is in the future: compare the clocks of both machines.", "nbfが未来の時刻です。両方のマシンの時計を比べてください。"],
  refused_wrong_issuer: ["Its iss is not auth.issuer.", "issがauth.issuerと異なります。"],
  refused_wrong_audience: ["Its aud does not contain auth.audience.", "audにauth.audienceが含まれていません。"],
  refused_revoked: ["The application has revoked it: sign a new one.", "アプリケーションによって取り消されています。新しいトークンを発行してください。"],
  refused_invalid_claims: ["A claim is missing or has the wrong type.", "クレームが足りないか、型が違います。"],
  wire: ["The wire", "通信ログ"],
  wireNote: ["Every frame as it is, in and out.", "送受信したフレームをそのまま表示します。"],
  noFrames: ["No frames to show", "表示するフレームはありません"],
  connection: ["Connection", "接続"],
  direction: ["Direction", "方向"],
  bothWays: ["Both ways", "送受信"],
  sent: ["Sent", "送信"],
  received: ["Received", "受信"],
  events: ["Events", "イベント"],
  filter: ["Filter", "絞り込み"],
  pause: ["Pause", "一時停止"],
  resume: ["Resume", "再開"],
  clear: ["Clear", "消去"],
  bytes: ["{count} B", "{count} B"],
  wireCount: ["{shown} of {kept} lines; the newest {limit} are kept.", "{kept}行中{shown}行を表示（最新{limit}行を保持）"],
  wirePaused: ["Paused: {missed} lines wait.", "一時停止中：{missed}行が待機しています。"],
  snippets: ["Use it in your application", "アプリケーションで使う"],
  snippetsNote: ["Complete, ready to paste.", "そのまま貼り付けて使えます。"],
  snippetBrowser: ["Browser", "ブラウザ"],
  snippetToken: ["Laravel: token", "Laravel：トークン"],
  snippetPublish: ["Laravel: publish", "Laravel：配信"],
  snippetProgress: ["Laravel: job", "Laravel：ジョブ"],
  snippetEchoEnv: ["Echo: .env", "Echo：.env"],
  snippetEchoPage: ["Echo: page", "Echo：ページ"],
  snippetBroadcast: ["Echo: broadcast", "Echo：配信"],
  snippetShell: ["Command line", "コマンドライン"],
  copy: ["Copy", "コピー"],
  copied: ["Copied", "コピーしました"],
  notCopied: ["Not copied", "コピーできません"],
  footer: [
    "The console hands out tokens to anyone who can open it. Keep it to development.",
    "コンソールは開いた人にトークンを発行します。開発環境でのみ有効にしてください。",
  ],
};

const listeners = new Set();

export const language = () => (document.documentElement.lang === "ja" ? "ja" : "en");

export function text(key, values = {}) {
  const phrase = TEXTS[key]?.[language() === "ja" ? 1 : 0] ?? key;
  return phrase.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** The words for a close code. */
export const closeText = (code) => text(TEXTS[`code${code}`] ? `code${code}` : "codeOther");

const written = new Map();

/** Writes `words()` into an element, now and after each change of language, until something else is written there. */
export function write(element, words) {
  written.set(element, words);
  element.textContent = words();
}

/** Leaves an element as it is from now on. */
export function unwrite(element) {
  written.delete(element);
}

/** Writes the words into everything under `root` that names a key. */
export function applyTexts(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
    if (element.tagName === "BUTTON") element.title = text(element.dataset.label);
  }
  for (const element of root.querySelectorAll("[data-none]")) element.dataset.empty = text(element.dataset.none);
  for (const element of root.querySelectorAll("[data-placeholder]")) {
    element.placeholder = text(element.dataset.placeholder);
  }
}

export function setLanguage(next) {
  document.documentElement.lang = next;
  applyTexts();
  for (const [element, words] of written) {
    if (element.isConnected) element.textContent = words();
    else written.delete(element);
  }
  for (const listener of listeners) listener();
}

/** Calls `listener` now and after each change of language. Returns the way to stop that. */
export function onLanguage(listener) {
  listeners.add(listener);
  listener();
  return () => listeners.delete(listener);
}
