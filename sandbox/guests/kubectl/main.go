// Command kubectl is the real kubectl of the lab's Kubernetes minor, as a guest.
//
// Its commands are upstream's, compiled by sandbox/guests/toolchain, which also stamps the version; the build leaves out API groups
// of alpha and beta versions that kubectl itself has no use for (their objects are still served, printed and applied: as data).
package main

import (
	"os"
	"path/filepath"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // token sources of kubeconfig files
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/homedir"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/kuberc"
)

func main() {
	home()
	logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) // before the tree is built: plugins and kuberc log as they are read
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}

// home recomputes what client-go and kubectl derived from the home directory when its packages were initialised: that was the image's, not the user's.
func home() {
	clientcmd.RecommendedConfigDir = filepath.Join(homedir.HomeDir(), clientcmd.RecommendedHomeDir)
	clientcmd.RecommendedHomeFile = filepath.Join(clientcmd.RecommendedConfigDir, clientcmd.RecommendedFileName)
	clientcmd.RecommendedSchemaFile = filepath.Join(clientcmd.RecommendedConfigDir, clientcmd.RecommendedSchemaName)
	kuberc.RecommendedConfigDir = clientcmd.RecommendedConfigDir
	kuberc.RecommendedKubeRCFile = filepath.Join(kuberc.RecommendedConfigDir, kuberc.RecommendedKubeRCFileName)
}
