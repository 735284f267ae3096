// Command hello is the lab's hello-world: it says what just happened, step by step.
package main

import (
	"os"
	"strings"
)

func main() {
	lang := os.Getenv("LANG")
	for _, a := range os.Args[1:] {
		switch a {
		case "ko", "--lang=ko":
			lang = "ko"
		case "en", "--lang=en":
			lang = "en"
		}
	}
	os.Stdout.WriteString(text(lang))
}

func text(lang string) string {
	if strings.HasPrefix(lang, "ko") {
		return korean
	}
	return english
}

const english = `
Hello from a container in your lab!
If you can read this, every step between you and this program worked.

What happened on the way here:
 1. Your client asked this lab for a container of the image "hello-world".
 2. The image was not on this machine yet, so it was pulled from the lab's registry, layer by layer.
 3. From the image a container was made: its own file system, process list, host name and network.
 4. This program was started in it as process 1. It is WebAssembly, so no processor's machine code was needed.
 5. What it printed went through the container's log to you. Now it ends, with exit code 0.

What next? A web server stays when this one leaves:
    nginx:1.29        serves a page on port 80
    busybox           a small shell to look around in
`

const korean = `
실습 환경의 컨테이너에서 인사드려요!
이 글이 보인다면, 여기까지 오는 모든 단계가 잘 된 거예요.

그동안 이런 일이 있었어요.
 1. 클라이언트가 "hello-world" 이미지로 컨테이너를 만들어 달라고 했어요.
 2. 이 머신에는 아직 그 이미지가 없어서, 실습 환경의 레지스트리에서 레이어를 하나씩 받아 왔어요.
 3. 이미지로 컨테이너를 만들었어요. 파일 시스템, 프로세스 목록, 호스트 이름, 네트워크가 따로 있어요.
 4. 그 안에서 이 프로그램이 1번 프로세스로 시작됐어요. WebAssembly라서 특정 CPU용 기계어가 필요 없어요.
 5. 출력한 글은 컨테이너 로그를 거쳐 화면에 왔어요. 이제 종료 코드 0으로 끝나요.

다음에는 끝나지 않고 남아 있는 웹 서버를 띄워 보세요.
    nginx:1.29        80번 포트로 페이지를 보여 줘요
    busybox           안을 둘러볼 수 있는 작은 셸이에요
`
